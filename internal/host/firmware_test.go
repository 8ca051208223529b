package host

import (
	"bytes"
	"crypto/rand"
	"os"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

func uefi(token uint64) Instance {
	i := instance(token)
	i.Firmware = droveway.UEFI
	return i
}

// variables are what the firmware of a host's machine remembers.
func (n *node) variables() string {
	n.t.Helper()
	b, err := os.ReadFile(n.varsPath(web))
	must(n.t, err)
	return string(b)
}

// TestVariablesStay keeps the firmware's variables over stops and restarts of the host,
// and removes them with the machine.
func TestVariablesStay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n, ctx := r.host("a"), t.Context()
	_, err := r.Create(ctx, "a", uefi(5), nil)
	must(t, err)
	_, err = r.Start(ctx, "a", uefi(5))
	must(t, err)
	must(t, os.WriteFile(n.varsPath(web), []byte("an entry"), 0o600))
	_, err = r.Stop(ctx, "a", Stop{Ref: ref(5)})
	must(t, err)
	n.restart()
	_, err = r.Start(ctx, "a", uefi(6))
	must(t, err)
	if got := n.variables(); got != "an entry" {
		t.Errorf("after a stop and a start: %q", got)
	}
	_, err = r.Remove(ctx, "a", ref(6))
	must(t, err)
	n.holds("firmware")
}

// TestVariablesGoAlong has a guest that boots on another host with the variables that
// it had, in whichever order is repeated.
func TestVariablesGoAlong(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b, ctx := r.host("a"), r.host("b"), t.Context()
	_, err := r.Create(ctx, "a", uefi(5), nil)
	must(t, err)
	_, err = r.Start(ctx, "a", uefi(5))
	must(t, err)
	must(t, os.WriteFile(a.varsPath(web), []byte("an entry"), 0o600))
	_, err = r.Reserve(ctx, "b", Reserve{Instance: uefi(6), Peer: "a", Boots: true})
	must(t, err)
	first := b.guest()
	left := each(t, 2, func() (Exported, error) { return r.Leave(ctx, "a", Stop{Ref: ref(5)}) })
	each(t, 2, func() (string, error) {
		return observed(r.TakeOver(ctx, "b", TakeOver{Ref: ref(6), Address: left.Address, Peer: "a", Vars: left.Vars}))
	})
	if got := b.variables(); got != "an entry" || b.guest() == first {
		t.Errorf("on the second host: %q, in the instance that had others: %t", got, b.guest() == first)
	}
	b.is(RoleHydrating, hypervisor.Running)
}

// TestVariablesRefused takes none that are damaged or too many, and leaves the guest
// where it is.
func TestVariablesRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b, ctx := r.host("b"), t.Context()
	_, err := r.Reserve(ctx, "b", Reserve{Instance: uefi(6), Peer: "a", Boots: true})
	must(t, err)
	many, err := packVars(make([]byte, hypervisor.MaxVars+1))
	must(t, err)
	for name, v := range map[string]Vars{"no base64": "%", "no gzip": "AAAA", "too many": many} {
		_, err := r.TakeOver(ctx, "b", TakeOver{Ref: ref(6), Address: "127.0.0.1:1", Peer: "a", Vars: v})
		if !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), "firmware variables") {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.is(RoleArriving, hypervisor.Received)
}

// TestVariablesOfAnotherFirmware refuses those of another size while the instance that is
// to have them still stands, and says of both hosts how many there are.
func TestVariablesOfAnotherFirmware(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	b, ctx := r.host("b"), t.Context()
	_, err := r.Reserve(ctx, "b", Reserve{Instance: uefi(6), Peer: "a", Boots: true})
	must(t, err)
	must(t, os.WriteFile(b.varsPath(web), []byte("of this size"), 0o600))
	res, err := r.Reserve(ctx, "b", Reserve{Instance: uefi(6), Peer: "a", Boots: true})
	must(t, err)
	if o := b.is(RoleArriving, hypervisor.Received); res.Vars != 12 || o.Vars != 12 {
		t.Errorf("reserved %+v, shown %+v", res, o)
	}
	first := b.guest()
	v, err := packVars([]byte("of another one"))
	must(t, err)
	_, err = r.TakeOver(ctx, "b", TakeOver{Ref: ref(6), Address: "127.0.0.1:1", Peer: "a", Vars: v})
	refused(t, err, droveway.Conflict, "have 14 bytes, those of the host's firmware 12")
	if b.is(RoleArriving, hypervisor.Received); b.guest() != first || b.variables() != "of this size" {
		t.Error("the instance is another one, or has other variables")
	}
}

// FuzzVars unpacks what another host may send: what was packed, or an error.
func FuzzVars(f *testing.F) {
	packed, err := packVars([]byte("an entry"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(packed))
	f.Fuzz(func(t *testing.T, v string) {
		if b, err := unpackVars(Vars(v)); err == nil && len(b) > hypervisor.MaxVars {
			t.Errorf("%d bytes", len(b))
		}
		again, err := packVars([]byte(v))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := unpackVars(again); err != nil || len(v) <= hypervisor.MaxVars && string(b) != v {
			t.Errorf("packed and unpacked: %v", err)
		}
	})
}

// TestVarsFit has the largest variables in one message of the bus.
func TestVarsFit(t *testing.T) {
	t.Parallel()
	b := make([]byte, hypervisor.MaxVars) // and nothing that can be compressed
	_, err := rand.Read(b)
	must(t, err)
	v, err := packVars(b)
	must(t, err)
	if back, err := unpackVars(v); err != nil || !bytes.Equal(back, b) || len(v) > 900<<10 {
		t.Errorf("%d bytes, %v", len(v), err)
	}
}
