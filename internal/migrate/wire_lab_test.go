//go:build lab

package migrate_test

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab"
	"github.com/droveway/droveway/internal/lab/record"
	"github.com/droveway/droveway/internal/lab/scene"
)

// wire counts what one host sends to the others.
type wire struct {
	mu     sync.Mutex
	bytes  int
	plain  int // frames with a part of a record, which only disk and memory have
	report int // frames with a report to the observer, which nobody encrypts
}

func (w *wire) see(f lab.Frame) {
	if !f.Out || f.Link != "eth0" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes += len(f.Data)
	if bytes.Contains(f.Data, []byte(record.Magic)) {
		w.plain++
	}
	if bytes.Contains(f.Data, []byte(`"durable":`)) {
		w.report++
	}
}

// Memory and disks cross between the hosts encrypted: no record of the guest, of
// which both are full, can be seen on the wire of a whole move.
func TestNothingTravelsInTheClear(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "wire"})
	from := hostOf(t, g)
	var w wire
	stop, err := stage.Lab.Capture(stage.Lab.HostNS(from), w.see)
	check(t, err)
	j, err := g.Move(t.Context(), other(from))
	if _, err = stage.Must(t.Context(), j, err); err != nil {
		t.Fatal(err)
	}
	missed, err := stop()
	check(t, err)
	if w.bytes < diskMiB<<20/2 || w.report == 0 {
		t.Fatalf("the capture saw %d bytes and %d reports, and missed %d frames: too little to judge by", w.bytes, w.report, missed)
	}
	if w.plain > 0 {
		t.Errorf("%d frames show records of the guest", w.plain)
	}
	t.Logf("%d MiB seen, %d frames missed, %d reports, %d records", w.bytes>>20, missed, w.report, w.plain)
}

// voice is when a machine was heard on a host: the frames that its own instance
// there sent.
type voice struct {
	mu          sync.Mutex
	mac         net.HardwareAddr
	first, last time.Time
}

func (v *voice) hear(f lab.Frame) {
	if f.Out || !strings.HasPrefix(f.Link, "dwt") || len(f.Data) < 12 || !bytes.Equal(f.Data[6:12], v.mac) {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.first.IsZero() {
		v.first = f.At
	}
	v.last = f.At
}

// At no time do two instances of a machine speak: the last frame, ARP or other, of
// the first one lies before the first of the second. SYSTEMS 12.7
func TestOnlyOneSpeaks(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "voice"})
	m, err := stage.API.Machine(t.Context(), g.Name)
	check(t, err)
	mac, err := net.ParseMAC(m.Spec.NICs[0].MAC)
	check(t, err)
	for _, mode := range []string{"reboot", "refresh"} {
		from := hostOf(t, g)
		old, young := listen(t, from, mac), listen(t, other(from), mac)
		j, err := stage.API.RestartMachine(t.Context(), g.Name, client.RestartRequest{Mode: mode, GraceSeconds: 3}, "")
		if _, err = stage.Must(t.Context(), j, err); err != nil {
			t.Fatal(err)
		}
		works(t, g)
		a, b := old(), young()
		if a.last.IsZero() || b.first.IsZero() {
			t.Fatalf("%s: heard %v on the first host, %v on the second: want both", mode, a.last, b.first)
		}
		if !a.last.Before(b.first) {
			t.Errorf("%s: the first instance spoke %s after the second had begun", mode, a.last.Sub(b.first))
		}
		t.Logf("%s: silent for %s in between", mode, b.first.Sub(a.last).Round(time.Millisecond))
	}
	nothingLost(t, g)
}

// listen hears a machine on a host until its result is asked for.
func listen(t *testing.T, host string, mac net.HardwareAddr) func() *voice {
	t.Helper()
	v := &voice{mac: mac}
	stop, err := stage.Lab.Capture(stage.Lab.HostNS(host), v.hear)
	check(t, err)
	return func() *voice {
		missed, err := stop()
		check(t, err)
		if missed > 0 {
			t.Errorf("%d frames missed on host %s", missed, host)
		}
		return v
	}
}
