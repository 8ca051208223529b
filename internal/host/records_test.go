package host

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/store"
	"github.com/droveway/droveway/internal/hypervisor"
)

// other is a machine beside web, whose record is damaged.
const other = "db"

func otherInstance() Instance {
	i := instance(7)
	i.Machine = other
	return i
}

// runsBoth makes web run on a host, and another machine.
func (n *node) runsBoth() (path string, record []byte) {
	n.t.Helper()
	n.t.Cleanup(func() { n.driver.Kill(other) })
	n.runs(5)
	_, err := n.rig.Create(n.t.Context(), "a", otherInstance(), nil)
	must(n.t, err)
	_, err = n.rig.Start(n.t.Context(), "a", otherInstance())
	must(n.t, err)
	path = n.records.path(other)
	record, err = os.ReadFile(path)
	must(n.t, err)
	return path, record
}

// write puts other bytes in the place of a file, whatever that was.
func write(t *testing.T, path string, b []byte) {
	t.Helper()
	must(t, os.RemoveAll(path))
	must(t, os.WriteFile(path, b, 0o600))
}

// damages are what a record may have become, by a name, and what the agent says of it.
var damages = map[string]struct {
	do    func(t *testing.T, path string, b []byte)
	says  string
	aside bool // it is of no use as it is
}{
	"empty":    {func(t *testing.T, p string, _ []byte) { write(t, p, nil) }, "is set aside as", true},
	"cut":      {func(t *testing.T, p string, b []byte) { write(t, p, b[:len(b)/2]) }, `leave out its "sum", and move it to`, true},
	"zeroed":   {func(t *testing.T, p string, b []byte) { write(t, p, make([]byte, len(b))) }, "is set aside as", true},
	"a bit":    {func(t *testing.T, p string, b []byte) { write(t, p, flip(b, `"token":7`)) }, "not what was written", true},
	"a key":    {func(t *testing.T, p string, b []byte) { write(t, p, flip(b, `handle`)) }, "not what was written", true},
	"its hash": {func(t *testing.T, p string, b []byte) { write(t, p, flip(b, `sum`)) }, "is set aside as", true},
	"another's": {func(t *testing.T, p string, _ []byte) {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(p), web+".json"))
		must(t, err)
		write(t, p, b)
	}, `it is of machine "web"`, true},
	"of a newer version": {func(t *testing.T, p string, _ []byte) {
		rec := record{Instance: otherInstance(), Role: "cloned"}
		b, err := rec.encode()
		must(t, err)
		write(t, p, b)
	}, "run an agent of the version that wrote it", false},
	"unreadable": {func(t *testing.T, p string, _ []byte) {
		must(t, os.Remove(p))
		must(t, os.Symlink(p, p)) // no user can read that
	}, "let the agent read it", false},
}

// flip changes the lowest bit of the last byte of what.
func flip(b []byte, what string) []byte {
	b = bytes.Clone(b)
	b[bytes.Index(b, []byte(what))+len(what)-1] ^= 1
	return b
}

// One damaged record keeps an agent from nothing but that machine: it is held, as the
// host and the machine say, since its guest runs; and once the record is mended the same
// guest is the machine's.
func TestDamagedRecord(t *testing.T) {
	t.Parallel()
	for name, d := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, ctx := newRig(t), t.Context()
			n := r.host("a")
			path, was := n.runsBoth()
			guest := n.driver.Guest(other)
			n.stop()
			d.do(t, path, was)
			damaged, _ := os.ReadFile(path)
			n.start()
			n.isHeld(d.says)
			_, err := r.Stop(ctx, "a", Stop{Ref: ref(5)})
			must(t, err) // of the one whose record is whole
			n.is(RoleIdle, hypervisor.Gone)

			aside, err := n.records.aside(other)
			must(t, err)
			if (len(aside) == 1) != d.aside {
				t.Fatalf("set aside: %q", aside)
			}
			if d.aside {
				kept, err := os.ReadFile(aside[0])
				must(t, err)
				if diff := cmp.Diff(damaged, kept); diff != "" {
					t.Errorf("what is set aside is not what was there:\n%s", diff)
				}
				n.restart()
				n.isHeld("is set aside as " + aside[0])
			}

			write(t, path, was)
			o, err := r.Start(ctx, "a", otherInstance())
			if err != nil || o.Role != RoleHome || n.driver.Guest(other) != guest {
				t.Errorf("once mended: %+v, %v, guest %v after %v", o, err, n.driver.Guest(other), guest)
			}
			n.reportsHeld()
			_, err = r.Remove(ctx, "a", Ref{other, 7})
			must(t, err)
			n.holds("machines", web+".json")
		})
	}
}

// isHeld checks that nobody can touch the other machine, that its guest runs, and that
// all who should know are told why.
func (n *node) isHeld(says string) {
	n.t.Helper()
	ctx := n.t.Context()
	o, err := n.rig.Look(ctx, "a", other)
	must(n.t, err)
	if o.Role != RoleUnknown || o.Instance != "" || !strings.Contains(o.Message, says) {
		n.t.Errorf("it is shown as %+v; want unknown, and %q", o, says)
	}
	for verb, give := range map[string]func() error{
		verbShow:   func() error { _, err := n.rig.Show(ctx, "a", other); return err },
		verbCreate: func() error { _, err := n.rig.Create(ctx, "a", otherInstance(), nil); return err },
		verbStart:  func() error { _, err := n.rig.Start(ctx, "a", otherInstance()); return err },
		verbStop:   func() error { _, err := n.rig.Stop(ctx, "a", Stop{Ref: Ref{other, 7}}); return err },
		verbRemove: func() error { _, err := n.rig.Remove(ctx, "a", Ref{other, 7}); return err },
		verbSums: func() error {
			_, err := n.rig.Sums(ctx, "a", Sums{Ref: Ref{other, 7}, Disk: "root"})
			return err
		},
		verbHydration: func() error { _, err := n.rig.Hydration(ctx, "a", Ref{other, 7}); return err },
	} {
		if err := give(); !droveway.Is(err, droveway.Unavailable) || !strings.Contains(err.Error(), says) {
			n.t.Errorf("%s: %v; want it refused with %q", verb, err, says)
		}
	}
	if n.driver.Guest(other) == nil {
		n.t.Error("its guest has ended")
	}
	n.reportsHeld(other)
	eventually(n.t, "the machine is reported", func() bool {
		o, _, err := store.NewTable[Observed](n.rig.stores.Observed, "a.machine").Get(ctx, other)
		return err == nil && o.Role == RoleUnknown && o.Instance == "" && strings.Contains(o.Message, says)
	})
}

// reportsHeld waits until the host's own report names these machines as held.
func (n *node) reportsHeld(want ...string) {
	n.t.Helper()
	eventually(n.t, fmt.Sprintf("the host reports %q as held", want), func() bool {
		s, _, err := store.NewTable[droveway.HostStatus](n.rig.stores.Observed, "a").Get(n.t.Context(), "host")
		var have []string
		for _, h := range s.Held {
			if h.Message == "" || h.Since.IsZero() {
				n.t.Errorf("%+v", h)
			}
			have = append(have, h.Machine)
		}
		return err == nil && s.Started.Equal(n.started) && cmp.Equal(have, want)
	})
}

// Who takes away what was set aside says that the host has nothing of the machine: it is
// told by itself, and another one of the name may come, but not to the old one's disks.
func TestDamagedRecordTakenAway(t *testing.T) {
	t.Parallel()
	r, ctx := newRig(t), t.Context()
	n := r.host("a")
	path, _ := n.runsBoth()
	n.stop()
	write(t, path, nil)
	n.start()
	n.isHeld("is set aside as")
	n.driver.Kill(other)
	aside, err := n.records.aside(other)
	must(t, err)
	must(t, os.Remove(aside[0]))
	eventually(t, "the host has nothing of it", func() bool {
		o, _, err := store.NewTable[Observed](r.stores.Observed, "a.machine").Get(ctx, other)
		return err == nil && o.Role == RoleNone
	})
	n.reportsHeld()
	anew := otherInstance()
	anew.UUID, anew.Token = "two", 1
	disk := filepath.Join(n.cfg.Dir, "volumes", other+".root.raw")
	old, err := os.ReadFile(disk)
	must(t, err)
	_, err = r.Create(ctx, "a", anew, nil)
	refused(t, err, droveway.Conflict, disk)
	if now, err := os.ReadFile(disk); err != nil || !bytes.Equal(now, old) {
		t.Errorf("the old disk was touched: %v", err)
	}
	must(t, os.Rename(disk, filepath.Join(t.TempDir(), "kept")))
	_, err = r.Create(ctx, "a", anew, nil)
	must(t, err)
}

// A record from before there was a hash, and one that was mended by hand, are read as
// they are; what is no record of a machine is passed over, and stays.
func TestRecordsOfOldAndStrangers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	path, was := n.runsBoth()
	n.stop()
	plain := was[:bytes.Index(was, []byte(sumBegin))]
	write(t, path, append(bytes.Clone(plain), "}\n"...))
	for _, name := range []string{"web.json.new", "Not a machine.json", ".json", "README"} {
		write(t, filepath.Join(filepath.Dir(path), name), []byte(`{"inst`))
	}
	n.start()
	n.is(RoleHome, hypervisor.Running)
	if o, err := r.Show(t.Context(), "a", other); err != nil || o.Role != RoleHome || o.Instance != hypervisor.Running {
		t.Errorf("%+v, %v", o, err)
	}
	n.reportsHeld()
	n.holds("machines", "web.json", "db.json", "web.json.new", "Not a machine.json", ".json", "README")
}

// What the server said of the networks is said again: a damaged file of it keeps no
// agent from starting.
func TestDamagedNetworks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	n.runs(5)
	n.stop()
	must(t, os.WriteFile(n.networksPath(), []byte(`{"peers":[`), 0o600))
	n.start()
	n.is(RoleHome, hypervisor.Running)
	if b, err := os.ReadFile(n.networksPath() + ".damaged"); err != nil || string(b) != `{"peers":[` {
		t.Errorf("set aside: %q, %v", b, err)
	}
}

// FuzzRecord: whatever stands in the file of a record, it is read as the record of that
// machine, which comes through being written and read again, or is refused; and nothing
// but what was written is taken for it.
func FuzzRecord(f *testing.F) {
	rec := record{Instance: instance(5), Role: RoleHome, Handle: hypervisor.Handle(`{"mem":"x"}`)}
	whole, err := rec.encode()
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{
		``, `{}`, `null`, string(whole), `{"instance":{"machine":"web","token":5},"role":"home","handle":{"mem":"x"}}`, `{"instance":{"machine":"web"},"role":7}`,
		`{"instance":{"machine":"web"},"role":"home"}{}`, `{"instance":{"machine":"web"},"role":"home","sum":""}`,
	} {
		f.Add([]byte(s), uint(100))
	}
	f.Fuzz(func(t *testing.T, b []byte, bit uint) {
		got, err := parseRecord(web, b)
		if (got == nil) == (err == nil) {
			t.Fatalf("%+v, %v", got, err)
		}
		if err != nil {
			return
		}
		sealed, err := got.encode()
		must(t, err)
		again, err := parseRecord(web, sealed)
		if err != nil || got.Instance.Machine != web || !cmp.Equal(got.Role, again.Role) || got.Instance.Token != again.Instance.Token {
			t.Fatalf("%+v came back as %+v, %v", got, again, err)
		}
		bit %= uint(len(sealed) * 8)
		sealed[bit/8] ^= 1 << (bit % 8)
		if other, err := parseRecord(web, sealed); err == nil {
			t.Fatalf("with bit %d flipped it is %+v", bit, other)
		}
	})
}

// A directory that cannot be read tells nothing of any machine: then the agent must not
// serve.
func TestRecordsThatCannotBeListed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	n.stop()
	a, err := New(n.cfg)
	must(t, err)
	a.records.dir += "-none"
	if err := a.Run(context.WithoutCancel(t.Context())); err == nil || !strings.Contains(err.Error(), "read the records of the machines") {
		t.Errorf("%v", err)
	}
}
