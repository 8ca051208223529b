package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// addresses are how many the load goes to: closed connections keep their ports
// for a minute, and one address has ports for 28,000 alone.
const addresses = 8

// pulse is how often connections are opened, several at a time.
const pulse = 10 * time.Millisecond

// load opens connections until ctx ends and gives how many it opened.
func load(ctx context.Context, rate int) (int, error) {
	ln, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		return 0, fmt.Errorf("listen for the load: %w", err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		serve(ln)
	}()
	defer func() {
		ln.Close()
		<-served
	}()
	port := ln.Addr().(*net.TCPAddr).Port
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	start, opened := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return opened, nil
		case <-tick.C:
		}
		for due := int(time.Since(start).Seconds() * float64(rate)); opened < due; opened++ {
			if err := once(fmt.Sprintf("127.0.0.%d:%d", 1+opened%addresses, port)); err != nil {
				return opened, err
			}
		}
	}
}

func once(address string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return fmt.Errorf("open a connection of the load: %w", err)
	}
	return c.Close()
}

// serve closes each connection when its client has.
func serve(ln net.Listener) {
	b := make([]byte, 16)
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		if _, err := c.Read(b); err != io.EOF {
			fmt.Println("load:", err)
		}
		c.Close()
	}
}
