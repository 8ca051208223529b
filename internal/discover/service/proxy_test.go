package service_test

import (
	"fmt"
	"io"
	"net"
)

const (
	proxyRole    = "SERVICE_PROXY" // where to, in the environment of the test's own program
	proxyAddress = "203.0.113.2:8090"
	proxyTarget  = "10.2.0.11:80"
)

// beProxy is the middle of every connection: both sides have sequence numbers of
// their own.
func beProxy(target string) {
	ln, err := net.Listen("tcp", proxyAddress)
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	for {
		c, err := ln.Accept()
		if err != nil {
			panic(err)
		}
		go pass(c, target)
	}
}

func pass(c net.Conn, target string) {
	defer c.Close()
	d, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer d.Close()
	go func() {
		_, _ = io.Copy(c, d)
		_ = c.Close()
	}()
	_, _ = io.Copy(d, c) // until either side closes
}
