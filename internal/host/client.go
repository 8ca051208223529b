package host

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/volume"
)

const (
	// waitMax is how long a host works on a command before it answers that it
	// is not done yet.
	waitMax = 3 * time.Second
	// callMax is how long a caller waits for that answer.
	callMax = waitMax + 5*time.Second
)

// Caller sends a command to a host and decodes the reply. bus.Conn is one.
type Caller interface {
	Call(ctx context.Context, host, verb string, in, out any) error
}

// Client gives commands to hosts. Its methods return once the host has carried
// them out; all may be repeated.
type Client struct{ caller Caller }

// NewClient makes a client.
func NewClient(c Caller) *Client { return &Client{c} }

// reply is the envelope of every answer.
type reply struct {
	Pending  bool               `json:"pending,omitempty"`
	Progress *droveway.Progress `json:"progress,omitempty"`
	Value    json.RawMessage    `json:"value,omitempty"`
}

// ask repeats a command until it is done.
func ask[Out any](ctx context.Context, c *Client, host, verb string, in any, progress func(droveway.Progress)) (out Out, err error) {
	for {
		r, err := c.once(ctx, host, verb, in)
		if err != nil {
			return out, fmt.Errorf("%s on host %s: %w", verb, host, err)
		}
		if r.Progress != nil && progress != nil {
			progress(*r.Progress)
		}
		if !r.Pending {
			return out, json.Unmarshal(r.Value, &out)
		}
	}
}

func (c *Client) once(ctx context.Context, host, verb string, in any) (r reply, err error) {
	ctx, cancel := context.WithTimeout(ctx, callMax)
	defer cancel()
	return r, c.caller.Call(ctx, host, verb, in, &r)
}

// Networks tells a host the networks and the other hosts.
func (c *Client) Networks(ctx context.Context, host string, n Networks) error {
	_, err := ask[struct{}](ctx, c, host, verbNetworks, n, nil)
	return err
}

// Create makes the disks of a machine.
func (c *Client) Create(ctx context.Context, host string, i Instance, progress func(droveway.Progress)) (Observed, error) {
	return ask[Observed](ctx, c, host, verbCreate, i, progress)
}

// Start runs a machine whose disks are there.
func (c *Client) Start(ctx context.Context, host string, i Instance) (Observed, error) {
	return ask[Observed](ctx, c, host, verbStart, i, nil)
}

// Stop ends the instance of a machine; its disks stay.
func (c *Client) Stop(ctx context.Context, host string, s Stop) (Observed, error) {
	return ask[Observed](ctx, c, host, verbStop, s, nil)
}

// Resize makes disks of a machine larger, whether it runs or not.
func (c *Client) Resize(ctx context.Context, host string, r Resize) (Resized, error) {
	return ask[Resized](ctx, c, host, verbResize, r, nil)
}

// Remove removes everything of a machine.
func (c *Client) Remove(ctx context.Context, host string, r Ref) (Observed, error) {
	return ask[Observed](ctx, c, host, verbRemove, r, nil)
}

// Show tells what the host has of a machine; RoleNone if nothing. Unavailable, if the
// host holds the machine, and so cannot tell: whoever asks is about to decide something.
func (c *Client) Show(ctx context.Context, host, machine string) (Observed, error) {
	o, err := c.Look(ctx, host, machine)
	if err == nil && o.Held {
		return Observed{}, droveway.Errorf(droveway.Unavailable, "show on host %s: %s", host, o.Message)
	}
	return o, err
}

// Look is Show for those who only tell what is seen, of machines that are held, too.
func (c *Client) Look(ctx context.Context, host, machine string) (Observed, error) {
	return ask[Observed](ctx, c, host, verbShow, Ref{Machine: machine}, nil)
}

// Console reads the log of the serial console.
func (c *Client) Console(ctx context.Context, host string, r Console) (ConsoleData, error) {
	return ask[ConsoleData](ctx, c, host, verbConsole, r, nil)
}

// Reserve makes, on the target, disks without content and an instance that
// waits for memory.
func (c *Client) Reserve(ctx context.Context, host string, r Reserve) (Reserved, error) {
	return ask[Reserved](ctx, c, host, verbReserve, r, nil)
}

// Discard undoes Reserve. Once the target has taken over it is refused.
func (c *Client) Discard(ctx context.Context, host string, r Ref) (Observed, error) {
	return ask[Observed](ctx, c, host, verbDiscard, r, nil)
}

// Secondary starts, on the source, the process that will serve its disks.
func (c *Client) Secondary(ctx context.Context, host string, s Secondary) (Exported, error) {
	return ask[Exported](ctx, c, host, verbSecondary, s, nil)
}

// Send begins, on the source, to send memory.
func (c *Client) Send(ctx context.Context, host string, s Send) (Observed, error) {
	return ask[Observed](ctx, c, host, verbSend, s, nil)
}

// Dirty measures, on the source, how fast the guest changes its memory.
func (c *Client) Dirty(ctx context.Context, host string, r Ref) (Dirty, error) {
	return ask[Dirty](ctx, c, host, verbDirty, r, nil)
}

// Hurry ends, on the source, the passes over memory: what is left of it follows
// after the switchover. It returns as soon as the hypervisor has taken that.
func (c *Client) Hurry(ctx context.Context, host string, r Ref) error {
	_, err := ask[struct{}](ctx, c, host, verbHurry, r, nil)
	return err
}

// Await waits, on the source, a little while for the memory to be held or the
// sending to fail.
func (c *Client) Await(ctx context.Context, host string, r Ref) (hypervisor.MemoryProgress, error) {
	return ask[hypervisor.MemoryProgress](ctx, c, host, verbAwait, r, nil)
}

// Cancel ends sending; the guest goes on where it is, at the source or, if its memory
// was on its way back, at the target. Once handed over it is refused.
func (c *Client) Cancel(ctx context.Context, host string, r Ref) (Observed, error) {
	return ask[Observed](ctx, c, host, verbCancel, r, nil)
}

// Handover ends the source's instance and serves its disks.
func (c *Client) Handover(ctx context.Context, host string, h Handover) (Exported, error) {
	return ask[Exported](ctx, c, host, verbHandover, h, nil)
}

// TakeOver runs the guest on the target.
func (c *Client) TakeOver(ctx context.Context, host string, t TakeOver) (Observed, error) {
	return ask[Observed](ctx, c, host, verbTakeOver, t, nil)
}

// Hydration tells how far the target's disks are; it waits a little while for
// news.
func (c *Client) Hydration(ctx context.Context, host string, r Ref) (Hydration, error) {
	return ask[Hydration](ctx, c, host, verbHydration, r, nil)
}

// Rate bounds the copy.
func (c *Client) Rate(ctx context.Context, host string, r Rate) (Observed, error) {
	return ask[Observed](ctx, c, host, verbRate, r, nil)
}

// Sums hashes chunks of a disk.
func (c *Client) Sums(ctx context.Context, host string, s Sums) ([]volume.Sum, error) {
	return ask[[]volume.Sum](ctx, c, host, verbSums, s, nil)
}

// Hold keeps the guest still, for holdMax at most, until Verdict.
func (c *Client) Hold(ctx context.Context, host string, r Ref) (Observed, error) {
	return ask[Observed](ctx, c, host, verbHold, r, nil)
}

// Verdict ends a Hold. If the disks are equal they leave their origin.
func (c *Client) Verdict(ctx context.Context, host string, v Verdict) (Observed, error) {
	return ask[Observed](ctx, c, host, verbVerdict, v, nil)
}

// Revoke ends, on the source, all access to its disks, which are the machine's
// again.
func (c *Client) Revoke(ctx context.Context, host string, r Ref) (Observed, error) {
	return ask[Observed](ctx, c, host, verbRevoke, r, nil)
}

// Welcome makes, on the source, an instance that waits for the memory to come
// back.
func (c *Client) Welcome(ctx context.Context, host string, r Reserve) (Reserved, error) {
	return ask[Reserved](ctx, c, host, verbWelcome, r, nil)
}

// GiveBack ends, on the target, a guest whose memory is held back on its way
// home.
func (c *Client) GiveBack(ctx context.Context, host string, r Ref) (Observed, error) {
	return ask[Observed](ctx, c, host, verbGiveBack, r, nil)
}

// Unwelcome takes Welcome back. First the target has to have said, by Cancel, that the
// guest goes on there.
func (c *Client) Unwelcome(ctx context.Context, host string, r Ref) (Observed, error) {
	return ask[Observed](ctx, c, host, verbUnwelcome, r, nil)
}

// Home lets, on the source, the guest run that has come back.
func (c *Client) Home(ctx context.Context, host string, r Ref) (Observed, error) {
	return ask[Observed](ctx, c, host, verbHome, r, nil)
}

// Leave ends the guest on the source and serves its disks.
func (c *Client) Leave(ctx context.Context, host string, s Stop) (Exported, error) {
	return ask[Exported](ctx, c, host, verbLeave, s, nil)
}

// Probe waits for a sign of life of the guest.
func (c *Client) Probe(ctx context.Context, host string, p Probe) (Observed, error) {
	return ask[Observed](ctx, c, host, verbProbe, p, nil)
}

// Release removes, on the source, what is left of a machine that has moved.
func (c *Client) Release(ctx context.Context, host string, r Ref) (Observed, error) {
	return ask[Observed](ctx, c, host, verbRelease, r, nil)
}
