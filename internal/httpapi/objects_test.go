package httpapi_test

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/machine"
	"github.com/droveway/droveway/internal/migrate"
)

// disk is a raw image: it has the mark of a boot sector.
func disk(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i >> 9)
	}
	copy(b[510:], "\x55\xaa")
	return b
}

func TestImages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	want := disk(1 << 20)
	img := w.keep(t, "i", want)
	must(t, w.api.Recover(ctx))
	listed, err := w.admin.Image(ctx, "i")
	must(t, err)
	if d := cmp.Diff(img, listed); d != "" {
		t.Error(d)
	}
	wantKind(t, w.admin.UploadStream(ctx, "i", "u", bytes.NewReader(want), func(int64) {}), droveway.Exists)

	for _, offset := range []int64{0, 700_001} {
		r, err := w.admin.OpenImage(ctx, "i", offset)
		must(t, err)
		got, err := io.ReadAll(r)
		must(t, err)
		must(t, r.Close())
		if !bytes.Equal(got, want[offset:]) {
			t.Errorf("%d bytes from %d on, and not the right ones", len(got), offset)
		}
	}

	// An image that a machine is being made from stays.
	m := droveway.Machine{Meta: droveway.Meta{Name: "m"}, Spec: droveway.MachineSpec{Disks: []droveway.Disk{{Name: "root", Image: "i"}}}}
	m.Status.State = droveway.MachineDefining
	must(t, w.fleet.Machines.Create(ctx, "m", m))
	wantKind(t, w.admin.RemoveImage(ctx, "i"), droveway.Conflict)
	_, err = w.fleet.Machines.Update(ctx, "m", func(m *droveway.Machine) error { m.Status.State = droveway.MachineRunning; return nil })
	must(t, err)
	must(t, w.admin.RemoveImage(ctx, "i"))
	_, err = w.admin.Image(ctx, "i")
	wantKind(t, err, droveway.NotFound)
}

func TestImportsThatFailLeaveNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	send := func(name, content string) error {
		return w.admin.UploadStream(ctx, name, "u", strings.NewReader(content), func(int64) {})
	}
	for name, content := range map[string]string{
		"empty":                     "",
		"qcow2 with a backing file": "QFI\xfb\x00\x00\x00\x03" + strings.Repeat("\x01", 504),
	} {
		must(t, send("i", content))
		_, err := w.admin.StartImport(ctx, "i", client.ImportRequest{Upload: "u"}, "")
		if !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%s: %v is of kind %q", name, err, droveway.KindOf(err))
		}
		images, err := w.admin.Images(ctx)
		must(t, err)
		if len(images) > 0 {
			t.Errorf("%s: left %v", name, images)
		}
	}
	// The length that was said and the one that came differ.
	status, body := w.do(t, "PUT", "/v1/images/i/upload/u?offset=0&size=4096", string(disk(2048)))
	if status < 400 || !strings.Contains(body, "2048 of 4096") {
		t.Errorf("a short upload got status %d: %s", status, body)
	}
	_, err := w.admin.StartImport(ctx, "i", client.ImportRequest{Upload: "u"}, "")
	wantKind(t, err, droveway.Conflict)
	wantKind(t, send("Bad Name", "x"), droveway.Invalid)
}

func TestRecoverForgetsHalfImports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	w.keep(t, "whole", disk(4096)) // killed before it was listed
	must(t, w.fleet.Images.Create(ctx, "half", droveway.Image{Meta: droveway.Meta{Name: "half"}, State: droveway.ImageFetching}))
	must(t, w.api.Recover(ctx))
	images, err := w.admin.Images(ctx)
	must(t, err)
	if len(images) != 1 || images[0].Name != "whole" || images[0].State != droveway.ImageReady {
		t.Errorf("images after a kill: %+v", images)
	}
}

// TestRecoverKeepsWhatItCannotTell has an import of which nobody can tell whether its
// job still runs: nothing is concluded from that.
func TestRecoverKeepsWhatItCannotTell(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	must(t, w.fleet.Images.Create(ctx, "half", droveway.Image{Meta: droveway.Meta{Name: "half"}, State: droveway.ImageFetching, Job: "j"}))
	for _, c := range []struct {
		fail  error
		want  droveway.Kind
		found int
	}{
		{droveway.Errorf(droveway.Unavailable, "the store is away"), droveway.Unavailable, 1},
		{nil, "", 1}, // it runs
		{droveway.Errorf(droveway.NotFound, "there is no such job"), "", 0},
	} {
		w.systems.fail = c.fail
		if err := w.api.Recover(ctx); droveway.KindOf(err) != c.want {
			t.Errorf("%v: Recover says %v", c.fail, err)
		}
		images, err := w.admin.Images(ctx)
		must(t, err)
		if len(images) != c.found {
			t.Errorf("%v: images %+v", c.fail, images)
		}
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	request := func(name, subnet string, vni uint32) client.NetworkRequest {
		return client.NetworkRequest{Name: name, Subnet: netip.MustParsePrefix(subnet), VNI: vni}
	}
	a, err := w.admin.CreateNetwork(ctx, request("a", "10.1.0.0/24", 0))
	must(t, err)
	b, err := w.admin.CreateNetwork(ctx, request("b", "10.1.0.0/24", 0))
	must(t, err)
	if a.VNI == 0 || a.VNI == b.VNI {
		t.Errorf("the networks got VNI %d and %d", a.VNI, b.VNI)
	}
	for _, c := range []struct {
		r    client.NetworkRequest
		want droveway.Kind
	}{
		{request("a", "10.2.0.0/24", 0), droveway.Exists},
		{request("c", "10.2.0.0/24", a.VNI), droveway.Conflict},
		{request("c", "10.2.0.1/24", 0), droveway.Invalid},
		{request("c", "fd00::/64", 0), droveway.Invalid},
	} {
		_, err := w.admin.CreateNetwork(ctx, c.r)
		wantKind(t, err, c.want)
	}
	m := droveway.Machine{Meta: droveway.Meta{Name: "m"}, Spec: droveway.MachineSpec{NICs: []droveway.NIC{{Network: "a"}}}}
	must(t, w.fleet.Machines.Create(ctx, "m", m))
	wantKind(t, w.admin.RemoveNetwork(ctx, "a"), droveway.Conflict)
	must(t, w.admin.RemoveNetwork(ctx, "b"))
	wantKind(t, w.admin.RemoveNetwork(ctx, "b"), droveway.NotFound)
}

func TestHosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	must(t, w.fleet.Hosts.Create(ctx, "a", droveway.Host{Meta: droveway.Meta{Name: "a"}}))
	yes := true
	h, err := w.admin.PatchHost(ctx, "a", client.HostPatch{Cordoned: &yes})
	must(t, err)
	if !h.Spec.Cordoned {
		t.Error("the host is not cordoned")
	}
	h, err = w.admin.PatchHost(ctx, "a", client.HostPatch{})
	must(t, err)
	if !h.Spec.Cordoned {
		t.Error("a patch of nothing changed something")
	}
	m := droveway.Machine{Meta: droveway.Meta{Name: "m"}, Status: droveway.MachineStatus{Host: "a"}}
	must(t, w.fleet.Machines.Create(ctx, "m", m))
	wantKind(t, w.admin.RemoveHost(ctx, "a", false), droveway.Conflict)
	state := func(s droveway.HostState) {
		_, err := w.fleet.Hosts.Update(ctx, "a", func(h *droveway.Host) error { h.Status.State = s; return nil })
		must(t, err)
	}
	state(droveway.HostReady)
	wantKind(t, w.admin.RemoveHost(ctx, "a", true), droveway.Conflict)
	state(droveway.HostUnknown)
	must(t, w.admin.RemoveHost(ctx, "a", true))
	wantKind(t, w.admin.RemoveHost(ctx, "a", false), droveway.NotFound)
}

func TestMachineOperationsReachTheSystems(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	spec := droveway.MachineSpec{CPUs: 2, MemoryMiB: 512, Running: true, Disks: []droveway.Disk{{Name: "root", SizeMiB: 1, Format: droveway.Raw}}}
	j, err := w.admin.CreateMachine(ctx, client.MachineRequest{Name: "m", Spec: spec}, "request-1")
	must(t, err)
	if j.Name != "job-1" || w.systems.key != "request-1" {
		t.Errorf("job %q for request %q", j.Name, w.systems.key)
	}
	if d := cmp.Diff(droveway.Machine{Meta: droveway.Meta{Name: "m"}, Spec: spec}, w.systems.made, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
	_, err = w.admin.StopMachine(ctx, "m", client.StopRequest{GraceSeconds: 7}, "")
	must(t, err)
	if w.systems.grace.Seconds() != 7 || w.systems.key == "" {
		t.Errorf("stopped with grace %s and key %q", w.systems.grace, w.systems.key)
	}
	if status, body := w.do(t, "POST", "/v1/machines/m/stop", ""); status != 202 || w.systems.grace.Seconds() != 30 {
		t.Errorf("stop without a body: status %d, grace %s: %s", status, w.systems.grace, body)
	}
	_, err = w.admin.MoveMachine(ctx, "m", client.MoveRequest{To: "b", SyncRate: 9}, "")
	must(t, err)
	if w.systems.move.Machine != "m" || w.systems.move.To != "b" || w.systems.move.Rate != 9 {
		t.Errorf("moved %+v", w.systems.move)
	}
	plan, err := w.admin.PlanMove(ctx, "m", client.MoveRequest{To: "b"})
	must(t, err)
	if plan.To != "b" {
		t.Errorf("plan %+v", plan)
	}
	j, err = w.admin.SetMoveRate(ctx, "m", client.RateRequest{SyncRate: 10})
	must(t, err)
	if j.Kind != migrate.Kind || w.systems.move.Machine != "m" || w.systems.move.Rate != 10 {
		t.Errorf("job %+v with %+v", j, w.systems.move)
	}
	_, err = w.admin.RestartMachine(ctx, "m", client.RestartRequest{Mode: "refresh", GraceSeconds: 7, SyncRate: 11}, "")
	must(t, err)
	if r := w.systems.restart; r.Machine != "m" || r.Mode != migrate.Refresh || r.Grace.Seconds() != 7 || r.Rate != 11 {
		t.Errorf("restarted %+v", r)
	}
	restart, err := w.admin.PlanRestart(ctx, "m", client.RestartRequest{To: "b"})
	must(t, err)
	if restart.To != "b" {
		t.Errorf("plan %+v", restart)
	}
	_, err = w.admin.ResizeMachine(ctx, "m", client.ResizeRequest{CPUs: 3, MemoryMiB: 512, Disks: []client.DiskSize{{Name: "root", SizeMiB: 9}}}, "")
	must(t, err)
	want := machine.Resize{Machine: "m", Size: machine.Size{CPUs: 3, MemoryMiB: 512, Disks: []machine.SizedDisk{{Name: "root", SizeMiB: 9}}}}
	if d := cmp.Diff(want, w.systems.resize); d != "" {
		t.Error(d)
	}
	size, err := w.admin.PlanResize(ctx, "m", client.ResizeRequest{Disks: []client.DiskSize{{Name: "root", SizeMiB: 9}}})
	must(t, err)
	if size.Machine != "m" || len(size.After.Disks) != 1 || size.After.Disks[0].SizeMiB != 9 {
		t.Errorf("plan %+v", size)
	}
	_, err = w.admin.StartMachine(ctx, "m", "")
	must(t, err)
	_, err = w.admin.RemoveMachine(ctx, "m", "")
	must(t, err)
}
