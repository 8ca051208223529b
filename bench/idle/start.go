package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/bench/verdict"
)

// Where a server listens that is only started. The client's namespace has a
// loopback of its own, so nobody is in the way.
const (
	apiAddress = "127.0.0.1:7443"
	busAddress = "127.0.0.1:7422"
	startTime  = time.Minute
	askAgain   = 2 * time.Millisecond
)

// starts measures servers from the start of the process to /readyz: ones that
// make everything for the first time, and ones that find it.
func (b *bed) starts(ctx context.Context, r *report) error {
	var first, again []float64
	for i := range starts {
		data := filepath.Join(b.dir, fmt.Sprint("server-", i))
		for _, into := range []*[]float64{&first, &again} {
			took, err := b.start(ctx, data)
			if err != nil {
				return fmt.Errorf("start a server: %w", err)
			}
			*into = append(*into, ms(took))
		}
	}
	r.ReadyFirst, r.ReadyAgain = verdict.Quantile(first, 0.5), verdict.Quantile(again, 0.5)
	return nil
}

// start starts a server, and ends it once it is ready.
func (b *bed) start(ctx context.Context, data string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	log, err := os.OpenFile(data+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	cmd := b.lab.Command(ctx, b.lab.ClientNS(), b.binary, "server", "--data", data, "--listen", apiAddress, "--bus-listen", busAddress)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stdout, cmd.Stderr = log, log
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	took, err := b.ready(ctx, start, ended)
	if err != nil {
		cancel()
		return 0, errors.Join(err, said(log.Name()))
	}
	cancel()
	return took, ofEnd(<-ended)
}

// ready asks until the server says that it is ready.
func (b *bed) ready(ctx context.Context, start time.Time, ended <-chan error) (time.Duration, error) {
	transport := &http.Transport{
		// The authority of a server that has only begun is not known yet, and
		// nothing secret is said.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return b.lab.Dial(ctx, b.lab.ClientNS(), network, address)
		},
	}
	defer transport.CloseIdleConnections()
	c := http.Client{Transport: transport}
	for {
		if answers(ctx, &c) {
			return time.Since(start), nil
		}
		select {
		case err := <-ended:
			return 0, droveway.Errorf(droveway.Unavailable, "it ended before it was ready: %w", err)
		case <-ctx.Done():
			return 0, droveway.Errorf(droveway.Unavailable, "it is not ready: %w", context.Cause(ctx))
		case <-time.After(askAgain):
		}
	}
}

func answers(ctx context.Context, c *http.Client) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+apiAddress+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := c.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK
}

// ofEnd drops the error of a process that ended because it was told to.
func ofEnd(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

const lastWords = 2000 // bytes

func said(log string) error {
	text, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	return fmt.Errorf("its log ends with: %s", text[max(0, len(text)-lastWords):])
}
