package host

import (
	"os"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// SYSTEMS 1.5: the same command twice makes one volume and one guest.
func TestCreateStartStopTwice(t *testing.T) {
	t.Parallel()
	i, b := picture(5)
	images := newSlow(b)
	close(images.let)
	r := newRig(t)
	n, ctx := r.host("a", func(c *Config) { c.Images = images }), t.Context()
	each(t, 2, func() (string, error) { return observed(r.Create(ctx, "a", i, nil)) })
	if images.opened != 1 {
		t.Errorf("the image was fetched %d times", images.opened)
	}
	have, err := os.ReadFile(n.cfg.Dir + "/volumes/web.root.raw")
	if err != nil || len(have) != diskSize || !strings.HasPrefix(string(have), string(b)) {
		t.Errorf("volume of %d bytes, %v", len(have), err)
	}
	each(t, 2, func() (string, error) { return observed(r.Start(ctx, "a", i)) })
	g := n.guest()
	each(t, 2, func() (string, error) { return observed(r.Create(ctx, "a", i, nil)) })
	if n.guest() != g {
		t.Error("the guest is another one")
	}
	each(t, 2, func() (string, error) { return observed(r.Stop(ctx, "a", Stop{Ref: ref(5)})) })
	n.is(RoleIdle, hypervisor.Gone)
	each(t, 2, func() (string, error) { return observed(r.Remove(ctx, "a", ref(5))) })
	for _, dir := range []string{"volumes", "instances", "machines"} {
		n.holds(dir)
	}
}

// SYSTEMS 1.5: also at the same time.
func TestStartAtTheSameTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	_, err := r.Create(t.Context(), "a", instance(5), nil)
	must(t, err)
	started := make(chan error)
	const times = 8
	for range times {
		go func() { _, err := r.Start(t.Context(), "a", instance(5)); started <- err }()
	}
	for range times {
		must(t, <-started)
	}
	n.is(RoleHome, hypervisor.Running)
	n.holds("instances", "web.5")
}

func TestRemoveStopsACreate(t *testing.T) {
	t.Parallel()
	i, b := picture(5)
	images := newSlow(b)
	r := newRig(t)
	n := r.host("a", func(c *Config) { c.Images = images })
	made := make(chan error, 1)
	go func() { _, err := r.Create(t.Context(), "a", i, nil); made <- err }()
	<-images.asked
	_, err := r.Remove(t.Context(), "a", ref(5))
	must(t, err)
	if <-made == nil {
		t.Error("the create that was ended reports success")
	}
	n.is(RoleNone, hypervisor.Gone)
	for _, dir := range []string{"volumes", "instances", "machines"} {
		n.holds(dir)
	}
}

// A command that waited while the machine was removed begins with nothing: it
// neither reports what was there nor works on an entry that nobody sees.
func TestCreateThatWaitedForARemoval(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	_, err := r.Create(t.Context(), "a", instance(5), nil)
	must(t, err)
	m := n.lock(web) // as the removal has it
	made := make(chan error, 1)
	go func() { _, err := r.Create(t.Context(), "a", instance(6), nil); made <- err }()
	eventually(t, "the create waits", func() bool { return n.tasks.runs() == 1 })
	_, err = n.remove(t.Context(), m, ref(5), nil)
	m.mu.Unlock()
	must(t, err)
	must(t, <-made)
	if o := n.is(RoleIdle, hypervisor.Gone); o.Token != 6 {
		t.Errorf("token %d", o.Token)
	}
	n.holds("volumes", "web.root.raw")
}

func TestDiskTooLargeForTheHost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	i := instance(5)
	i.Disks = append(i.Disks, Disk{Name: "data", Format: droveway.Raw, Size: 1 << 56})
	_, err := r.Create(t.Context(), "a", i, nil)
	refused(t, err, droveway.Unavailable, "the disks of machine web need")
	_, err = r.Reserve(t.Context(), "a", Reserve{Instance: i})
	refused(t, err, droveway.Unavailable, "free some or choose another host")
	for _, dir := range []string{"volumes", "instances", "machines"} {
		n.holds(dir)
	}
}

func TestDamagedImageLeavesNoVolume(t *testing.T) {
	t.Parallel()
	i, b := picture(5)
	images := pictures{}
	r := newRig(t)
	n := r.host("a", func(c *Config) { c.Images = images })
	wrong := append([]byte("X"), b[1:]...)
	for name, bytes := range map[string][]byte{"changed": wrong, "cut": b[:len(b)/2], "longer": append(wrong, b...), "empty": {}} {
		images["tiny"] = bytes
		_, err := r.Create(t.Context(), "a", i, nil)
		if !droveway.Is(err, droveway.Unavailable) || !strings.Contains(err.Error(), "image tiny arrived damaged") {
			t.Errorf("%s: %v", name, err)
		}
		n.holds("volumes")
		n.is(RoleNone, hypervisor.Gone)
	}
	images["tiny"] = b // it may be well at the next attempt
	_, err := r.Create(t.Context(), "a", i, nil)
	must(t, err)
	n.holds("volumes", "web.root.raw")
}

// What an earlier machine of the name left half made is not the later one's.
func TestCreateAfterHalfAMachine(t *testing.T) {
	t.Parallel()
	i, b := picture(5)
	i.Disks = append(i.Disks, Disk{Name: "data", Format: droveway.Raw, Size: diskSize, Image: &Image{Name: "none"}})
	r := newRig(t)
	n := r.host("a", func(c *Config) { c.Images = pictures{"tiny": b} })
	_, err := r.Create(t.Context(), "a", i, nil)
	refused(t, err, droveway.NotFound, "no image none")
	n.holds("volumes", "web.root.raw")
	other := instance(6)
	other.UUID = "two"
	_, err = r.Create(t.Context(), "a", other, nil)
	must(t, err)
	have, err := os.ReadFile(n.cfg.Dir + "/volumes/web.root.raw")
	must(t, err)
	if strings.Trim(string(have), "\x00") != "" {
		t.Error("the blank disk has the bytes of an earlier machine's")
	}
}

func TestStartThatFailsLeavesNoGuest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n, ctx := r.host("a"), t.Context()
	_, err := r.Create(ctx, "a", instance(5), nil)
	must(t, err)
	n.driver.Fail("Start", droveway.Errorf(droveway.Unavailable, "no memory"))
	_, err = r.Start(ctx, "a", instance(5))
	refused(t, err, droveway.Unavailable, "start machine web: no memory")
	n.is(RoleIdle, hypervisor.Gone)
	n.driver.Fail("Start", nil)
	_, err = r.Start(ctx, "a", instance(6))
	must(t, err)
	n.is(RoleHome, hypervisor.Running)
	n.holds("instances", "web.6")
}

// The directory of an instance goes with the next one at the latest.
func TestInstanceDirectories(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n, ctx := r.host("a"), t.Context()
	n.runs(5)
	for token := uint64(6); token < 8; token++ {
		_, err := r.Stop(ctx, "a", Stop{Ref: ref(token)})
		must(t, err)
		_, err = r.Start(ctx, "a", instance(token))
		must(t, err)
	}
	n.holds("instances", "web.7")
	n.driver.Kill(web)
	_, err := r.Start(ctx, "a", instance(8))
	must(t, err)
	n.holds("instances", "web.8")
	n.is(RoleHome, hypervisor.Running)
}
