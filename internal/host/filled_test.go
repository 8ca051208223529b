package host

import (
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// unfilled is a machine whose disk is filled from the server.
func unfilled(token uint64) Instance {
	i := instance(token)
	i.Disks = []Disk{{Name: "root", Format: droveway.QCOW2, Size: diskSize, Origin: &Origin{Name: "o", Port: "7424", Peer: "droveway-server", Rate: 1}}}
	return i
}

// TestFilled runs a machine whose disk is not here, over a kill of the agent. What
// needs all of the disk is refused meanwhile; once all is here, the disk leaves its
// origin by itself, and the machine is like any other.
func TestFilled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n, ctx := r.host("a", func(c *Config) { c.Server = "192.0.2.1" }), t.Context()
	n.driver.Fail("Fill", droveway.Errorf(droveway.Unavailable, "the source is away"))
	for range 2 {
		_, err := r.Create(ctx, "a", unfilled(5), nil)
		must(t, err)
	}
	lacks := func(want string) {
		t.Helper()
		h, err := r.Hydration(ctx, "a", ref(5))
		if err != nil || strings.Join(h.Lacks, " ") != want {
			t.Errorf("it lacks %v, want %q: %v", h.Lacks, want, err)
		}
	}
	lacks("root") // no instance yet
	_, err := r.Start(ctx, "a", unfilled(5))
	must(t, err)
	lacks("root")
	n.restart()
	n.is(RoleHome, hypervisor.Running)
	refuses(t, r)
	_, err = r.Stop(ctx, "a", Stop{Ref: ref(5)})
	must(t, err)
	lacks("root")
	if _, err := r.Start(ctx, "a", instance(6)); !droveway.Is(err, droveway.Conflict) || !strings.Contains(err.Error(), "not whole") {
		t.Errorf("it starts without anybody who has the rest: %v", err)
	}
	_, err = r.Start(ctx, "a", unfilled(7))
	must(t, err)
	n.driver.Fail("Fill", nil)
	eventually(t, "the disk is whole", func() bool {
		h, err := r.Hydration(ctx, "a", ref(7))
		return err == nil && len(h.Lacks) == 0
	})
	_, err = r.Stop(ctx, "a", Stop{Ref: ref(7)})
	must(t, err)
	plain := instance(8)
	plain.Disks = []Disk{{Name: "root", Format: droveway.QCOW2, Size: diskSize}}
	_, err = r.Start(ctx, "a", plain)
	must(t, err)
}

// refuses: nothing may leave that is not whole.
func refuses(t *testing.T, r *rig) {
	t.Helper()
	ctx := t.Context()
	_, send := r.Send(ctx, "a", Send{Ref: ref(5), To: "127.0.0.1:1"})
	_, secondary := r.Secondary(ctx, "a", Secondary{Ref: ref(5), Peer: "b"})
	_, leave := r.Leave(ctx, "a", Stop{Ref: ref(5)})
	for verb, err := range map[string]error{"send": send, "secondary": secondary, "leave": leave} {
		if !droveway.Is(err, droveway.Conflict) || !strings.Contains(err.Error(), "still filled") {
			t.Errorf("%s: %v", verb, err)
		}
	}
	got, err := r.Resize(ctx, "a", Resize{Ref: ref(5), Disks: []DiskSize{{Name: "root", Size: 2 * diskSize}}})
	if err != nil || !strings.Contains(got.Refused, "still filled") {
		t.Errorf("resize: %+v, %v", got, err)
	}
}
