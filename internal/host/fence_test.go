package host

import (
	"context"
	"io"
	"sync"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// commands are the verbs that change a machine.
var commands = []string{
	verbCreate, verbStart, verbStop, verbRemove, verbReserve, verbDiscard, verbSecondary, verbSend, verbCancel, verbHandover, verbTakeOver, verbRate,
	verbHold, verbVerdict, verbRevoke, verbRelease, verbWelcome, verbGiveBack, verbHome, verbLeave, verbProbe, verbResize,
}

// give gives a command as its verb and its machine alone.
func (r *rig) give(verb, machine string, token uint64) error {
	return r.conn.Call(r.t.Context(), "a", verb, Instance{Machine: machine, Token: token, UUID: "one"}, nil)
}

func TestOlderTokenIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	n.runs(5)
	g := n.guest()
	for range 2 {
		for _, verb := range commands {
			refused(t, r.give(verb, web, 4), droveway.Conflict, "machine web: command with token 4 is older than token 5, which this host has seen")
		}
		n.is(RoleHome, hypervisor.Running)
		n.restart()
	}
	if n.guest() != g {
		t.Error("the guest is another one")
	}
}

// A host that a machine has left refuses what comes late for it, but not
// another machine of the same name.
func TestTokenOutlivesTheMachine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n, ctx := r.host("a"), t.Context()
	n.runs(5)
	_, err := r.Leave(ctx, "a", Stop{Ref: ref(5)})
	must(t, err)
	_, err = r.Release(ctx, "a", ref(5))
	must(t, err)
	for range 2 {
		_, err = r.Create(ctx, "a", instance(4), nil)
		refused(t, err, droveway.Conflict, "older than token 5")
		_, err = r.Reserve(ctx, "a", Reserve{Instance: instance(4)})
		refused(t, err, droveway.Conflict, "older than token 5")
		n.is(RoleNone, hypervisor.Gone)
		n.restart()
	}
	n.holds("volumes")
	other := instance(1)
	other.UUID = "two"
	_, err = r.Create(ctx, "a", other, nil)
	must(t, err)
	if o := n.is(RoleIdle, hypervisor.Gone); o.Token != 1 {
		t.Errorf("token %d", o.Token)
	}
}

// As long as something of a machine is here, another one of its name is refused:
// it would get its disks.
func TestAnotherMachineOfTheName(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	_, err := r.Create(t.Context(), "a", instance(5), nil)
	must(t, err)
	other := instance(6)
	other.UUID = "two"
	_, err = r.Create(t.Context(), "a", other, nil)
	refused(t, err, droveway.Conflict, "machine web is idle on this host: create is for [none]")
	if o := n.is(RoleIdle, hypervisor.Gone); o.Token != 5 {
		t.Errorf("token %d", o.Token)
	}
}

// slow is an image whose bytes come once they are let through.
type slow struct {
	pictures
	once   sync.Once
	asked  chan struct{} // closed once somebody reads
	let    chan struct{} // closed to let them through
	opened int
}

func newSlow(b []byte) *slow {
	return &slow{pictures: pictures{"tiny": b}, asked: make(chan struct{}), let: make(chan struct{})}
}

func (s *slow) Open(ctx context.Context, i Image, offset int64) (io.ReadCloser, error) {
	s.opened++
	r, err := s.pictures.Open(ctx, i, offset)
	return &slowReader{r, s, ctx}, err
}

type slowReader struct {
	io.ReadCloser
	from *slow
	ctx  context.Context
}

func (r *slowReader) Read(p []byte) (int, error) {
	r.from.once.Do(func() { close(r.from.asked) })
	select {
	case <-r.from.let:
		return r.ReadCloser.Read(p)
	case <-r.ctx.Done():
		return 0, context.Cause(r.ctx)
	}
}

// What is refused for its token must not end what runs, either.
func TestOlderTokenDisturbsNothing(t *testing.T) {
	t.Parallel()
	i, b := picture(5)
	images := newSlow(b)
	r := newRig(t)
	n := r.host("a", func(c *Config) { c.Images = images })
	made := make(chan error, 1)
	go func() { _, err := r.Create(t.Context(), "a", i, nil); made <- err }()
	<-images.asked
	for _, verb := range []string{verbRemove, verbStop, verbDiscard} {
		refused(t, r.give(verb, web, 4), droveway.Conflict, "older than token 5")
	}
	close(images.let)
	must(t, <-made)
	n.is(RoleIdle, hypervisor.Gone)
}
