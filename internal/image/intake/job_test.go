package intake

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job/jobtest"
	"github.com/droveway/droveway/internal/image/sourcetest"
)

// vmdk is the test's disk as VMware exports it.
func vmdk(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	raw, out := filepath.Join(dir, "raw"), filepath.Join(dir, "out")
	must(t, os.WriteFile(raw, disk(), 0o600))
	if said, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, out).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v: %s", err, said)
	}
	b, err := os.ReadFile(out)
	must(t, err)
	return b
}

// appliance is an OVA with two disks and a manifest.
func appliance(t *testing.T) []byte {
	t.Helper()
	d := vmdk(t)
	ovf := `<Envelope xmlns:ovf="x"><References><File ovf:id="f1" ovf:href="one.vmdk"/><File ovf:id="f2" ovf:href="two.img"/></References>
<DiskSection><Disk ovf:diskId="d1" ovf:fileRef="f1" ovf:capacity="2" ovf:capacityAllocationUnits="byte * 2^20"/><Disk ovf:diskId="d2" ovf:fileRef="f2" ovf:capacity="7"/></DiskSection></Envelope>`
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range []struct {
		name string
		b    []byte
	}{{"m.ovf", []byte(ovf)}, {"one.vmdk", d}, {"two.img", disk()}, {"m.mf", []byte("SHA256(one.vmdk)= " + sum(d) + "\nSHA256(two.img)= " + sum(disk()) + "\n")}} {
		must(t, w.WriteHeader(&tar.Header{Name: m.name, Size: int64(len(m.b)), Mode: 0o644, Typeflag: tar.TypeReg}))
		_, err := w.Write(m.b)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

// TestJob kills the import at every write of its journal, cancels it at each, and
// fails every step: an image or two, or nothing at all.
func TestJob(t *testing.T) {
	js := startStore(t)
	for name, file := range map[string][]byte{"raw": disk(), "ova": appliance(t)} {
		t.Run(name, func(t *testing.T) {
			s := sourcetest.New(t, file, sourcetest.Manners{})
			jobtest.Run(t, func(t *testing.T) jobtest.World[state] {
				w := newWorld(t, js)
				k := w.begin(t, Request{Name: "a", Link: s.URL})
				return jobtest.World[state]{Args: k.args, Steps: k.steps(), Check: func(t *testing.T, succeeded bool) {
					if !succeeded {
						w.wantNothingButLink(t)
						return
					}
					names := map[string][]string{"raw": {"a"}, "ova": {"a-1", "a-2"}}[name]
					for _, n := range names {
						w.wantImage(t, n, nil)
					}
					if left := w.left(t); len(left) != 3*len(names) {
						t.Errorf("left: %v", left)
					}
				}}
			})
		})
	}
}

// wantNothingButLink allows for the record of a transfer whose job was cancelled
// before its first step: then there was nothing to undo.
func (w *world) wantNothingButLink(t *testing.T) {
	t.Helper()
	left := slices.DeleteFunc(w.left(t), func(name string) bool { return strings.HasPrefix(name, staged("a", "")) })
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if n, err := w.Uploaded("a", ""); n != 0 {
		t.Errorf("%d bytes of the source are left (%v)", n, err)
	}
}

// TestSeveralDisks makes an image of each disk of an OVA, or of the one that is
// chosen, and they agree. SYSTEMS 5.8.
func TestSeveralDisks(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	s := sourcetest.New(t, appliance(t), sourcetest.Manners{})
	for choice, want := range map[string][]string{"": {"a-1", "a-2"}, "1": {"a"}, "two.img": {"a"}} {
		t.Run("disk "+choice, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, js)
			r := Request{Name: "a", Link: s.URL + "/m.ova", Disk: choice}
			p, err := w.Plan(t.Context(), r)
			must(t, err)
			var planned []string
			for _, i := range p.Images {
				planned = append(planned, i.Name)
			}
			if d := cmp.Diff(want, planned); d != "" || p.Source.Format != "ova" || !p.Resumable {
				t.Errorf("plan %+v (-want +got):\n%s", p, d)
			}
			w.wantNothing(t) // a plan copies nothing
			res := result(t, w.begin(t, r).do(t, t.Context()))
			if d := cmp.Diff(want, res.Images); d != "" {
				t.Errorf("images (-want +got):\n%s", d)
			}
			if !slices.ContainsFunc(res.Notes, func(n string) bool { return strings.Contains(n, "the OVF says 7") }) {
				t.Errorf("notes %q", res.Notes)
			}
			raw := filepath.Join(t.TempDir(), "raw")
			must(t, os.WriteFile(raw, disk(), 0o600))
			for _, name := range want {
				w.wantImage(t, name, nil)
				if said, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, filepath.Join(w.dir, name)).CombinedOutput(); err != nil {
					t.Errorf("%s: %v: %s", name, err, said)
				}
			}
		})
	}
}

// TestTaken has an OVA of which one name is taken: the other is not made either.
func TestTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	s := sourcetest.New(t, appliance(t), sourcetest.Manners{})
	must(t, w.cfg.Fleet.Images.Create(t.Context(), "a-2", droveway.Image{Meta: droveway.Meta{Name: "a-2"}, State: droveway.ImageReady}))
	j := w.begin(t, Request{Name: "a", Link: s.URL}).do(t, t.Context())
	if j.State != droveway.JobFailed || !strings.Contains(j.Error, "a-2 is there already") {
		t.Errorf("the job %s: %s", j.State, j.Error)
	}
	if d := cmp.Diff([]string{"record of a-2"}, w.left(t)); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
}

// TestPlanRefuses refuses before anything is copied. SYSTEMS 5.10.
func TestPlanRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	backed := vmdk(t)
	copy(backed, "QFI\xfb\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x0b\x00\x00\x00\x10\x00\x00\x00\x00\x00\x10\x00\x00")
	s := sourcetest.New(t, backed, sourcetest.Manners{})
	for name, c := range map[string]struct {
		req  Request
		kind droveway.Kind
		says string
	}{
		"backing file": {Request{Name: "a", Link: s.URL}, droveway.Invalid, "backing file"},
		"bad name":     {Request{Name: "../a", Link: s.URL}, droveway.Invalid, "image name"},
		"bad sum":      {Request{Name: "a", Link: s.URL, SHA256: "1"}, droveway.Invalid, "64 hexadecimal"},
		"file":         {Request{Name: "a", Link: "file:///etc/shadow"}, droveway.Invalid, "https://host/path"},
		"no source":    {Request{Name: "a"}, droveway.Invalid, "give the address"},
		"no upload":    {Request{Name: "a", Upload: "u"}, droveway.NotFound, "send the image first"},
	} {
		_, err := w.Plan(t.Context(), c.req)
		if droveway.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v of kind %q, want %q that says %q", name, err, droveway.KindOf(err), c.kind, c.says)
		}
	}
	w.wantNothing(t)
}
