//go:build lab

package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a client had under way when a guest left reaches it at its new place, once
// that is announced and not before, in order and whole.
func TestForwardBringsWhatWaitsToTheNewPlace(t *testing.T) {
	hosts := newUnderlay(t)
	for _, h := range hosts {
		h.ensure(blue, everybody)
	}
	left, waits, client := hosts[0].tap(77, "tap-left"), hosts[1].tap(77, "tap-waits"), hosts[2].tap(77, "tap-client")
	speak(t, left, ethernet(macA, macB, "here I am"))
	if !tapHears(t, client, 2*time.Second, ethernet(macA, macB, "here I am")) {
		t.Fatal("the client does not hear the guest")
	}

	var sent [][]byte
	for n := range 20 {
		sent = append(sent, ethernet(macB, macA, fmt.Sprintf("frame %d", n)))
		speak(t, client, sent[n])
	}
	speak(t, client, ethernet(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, macA, "to all"))
	end := hosts[0].forward(left, macB)
	if tapHears(t, waits, 300*time.Millisecond, sent[0]) {
		t.Error("a frame was sent on before the guest was announced")
	}
	hosts[1].in(func() error {
		return hosts[1].m.Announce(context.Background(), 77, macB.String(), netip.MustParseAddr("10.20.0.11"))
	})
	for n, frame := range sent {
		if !tapHears(t, waits, 2*time.Second, frame) {
			t.Fatalf("frame %d is lost", n)
		}
	}
	if tapHears(t, waits, 300*time.Millisecond, ethernet(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, macA, "to all")) {
		t.Error("a broadcast reached the new place twice")
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

// forward forwards from a tap until the function that it returns is called.
func (p *place) forward(tap *os.File, mac net.HardwareAddr) (end func() error) {
	p.t.Helper()
	fd, err := unix.FcntlInt(tap.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	p.work <- func() { done <- p.m.Forward(ctx, 77, mac.String(), os.NewFile(uintptr(fd), "tap")) }
	return func() error {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
}
