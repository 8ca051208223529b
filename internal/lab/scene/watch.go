package scene

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	watcher "github.com/droveway/droveway/internal/lab/client"
	"github.com/droveway/droveway/internal/lab/hand"
	"github.com/droveway/droveway/internal/lab/observer"
)

// Watch is who watches a guest, whatever hypervisor runs it: an observer, to
// which the guest reports, and a client, which asks it all the time.
type Watch struct {
	Name     string // of the guest
	Observer *observer.Observer
	Client   *watcher.Client

	scene   *Scene
	address string             // of the observer
	guest   netip.Addr         // of the guest, once it is asked
	end     context.CancelFunc // of the observer
	rest    func()             // of the client
	done    chan error
}

const (
	dialTime  = time.Second
	lookEvery = 20 * time.Millisecond
)

// Watch sets an observer up. Its client begins with Ask.
func (s *Scene) Watch(guest string) (*Watch, error) {
	ctx, cancel := context.WithCancel(context.Background())
	ln, err := s.Lab.Listen(ctx, s.Lab.ClientNS(), "tcp", net.JoinHostPort(clientPrefix.Addr().String(), "0"))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("listen for guest %s: %w", guest, err)
	}
	w := &Watch{
		Name: guest, Observer: observer.New(nil, s.log), scene: s, address: ln.Addr().String(),
		end: cancel, rest: func() {}, done: make(chan error, 1),
	}
	go func() { w.done <- w.Observer.Run(ctx, ln) }()
	return w, nil
}

// Address is where the guest has to report to: workload.Config's Observer.
func (w *Watch) Address() string { return w.address }

// Ask lets a new client ask the guest at an address, instead of the one before.
func (w *Watch) Ask(guest netip.Addr) {
	w.Rest()
	w.guest = guest
	address := net.JoinHostPort(guest.String(), watcher.EchoPort)
	c := watcher.New(func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTime)
		defer cancel()
		return w.scene.Lab.Dial(ctx, w.scene.Lab.ClientNS(), "tcp", address)
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(ctx) }) // it notes its errors itself
	w.Client, w.rest = c, func() { cancel(); running.Wait() }
}

// Do has the guest that is asked do something to one of its disks.
func (w *Watch) Do(ctx context.Context, o hand.Order) (hand.Answer, error) {
	conn, err := w.scene.Lab.Dial(ctx, w.scene.Lab.ClientNS(), "tcp", net.JoinHostPort(w.guest.String(), hand.Port))
	if err != nil {
		return hand.Answer{}, fmt.Errorf("order of guest %s: %w", w.Name, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	return hand.Ask(conn, o)
}

// Rest ends the client; what it noted stays.
func (w *Watch) Rest() { w.rest() }

// Close ends the watch; the guest stays.
func (w *Watch) Close() error {
	w.rest()
	w.end()
	return <-w.done
}

// Works waits until the guest has acknowledged n more records and its client is
// answered now: after a boot it has to notice first that its connection is dead.
func (w *Watch) Works(ctx context.Context, n uint64) error {
	have, asked := w.Observer.Summary().Acknowledged(), time.Now()
	_, err := w.Observer.Wait(ctx, func(s observer.Summary) bool { return s.Acknowledged() >= have+n })
	for err == nil && w.Client.Between(asked, time.Now()).Answers == 0 {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(lookEvery):
		}
	}
	if err != nil {
		return fmt.Errorf("guest %s does not work: %s: %w", w.Name, w.Observer.Summary(), err)
	}
	return nil
}
