package intake

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job"
	"github.com/droveway/droveway/internal/engine/job/jobtest"
	"github.com/droveway/droveway/internal/image/sourcetest"
	"github.com/droveway/droveway/internal/image/stage"
)

// vmdk is the test's disk as VMware exports it.
func vmdk(t *testing.T) []byte {
	t.Helper()
	return vmdkOf(t, disk())
}

func vmdkOf(t *testing.T, disk []byte) []byte {
	t.Helper()
	return made(t, disk, "-O", "vmdk", "-o", "subformat=streamOptimized")
}

// ovaOfTwo is an OVA with two disks and a manifest.
func ovaOfTwo(t *testing.T) []byte {
	t.Helper()
	return ovaOf(t, disk())
}

// ovaOf has a disk twice, in two formats.
func ovaOf(t *testing.T, disk []byte) []byte {
	t.Helper()
	return ovaOfBoth(t, disk, disk)
}

// ovaOfBoth has two disks, in two formats.
func ovaOfBoth(t *testing.T, first, second []byte) []byte {
	t.Helper()
	d := vmdkOf(t, first)
	ovf := `<Envelope xmlns:ovf="x"><References><File ovf:id="f1" ovf:href="one.vmdk"/><File ovf:id="f2" ovf:href="two.img"/></References>
<DiskSection><Disk ovf:diskId="d1" ovf:fileRef="f1" ovf:capacity="2" ovf:capacityAllocationUnits="byte * 2^20"/><Disk ovf:diskId="d2" ovf:fileRef="f2" ovf:capacity="7"/></DiskSection></Envelope>`
	manifest := "SHA256(one.vmdk)= " + sum(d) + "\nSHA256(two.img)= " + sum(second) + "\n"
	return archive(t, "m.ovf", []byte(ovf), "one.vmdk", d, "two.img", second, "m.mf", []byte(manifest))
}

// TestJob kills the import at every write of its journal, cancels it at each, and
// fails every step: an image or two, or nothing at all.
func TestJob(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	small := diskOf(256 << 10) // it is brought in some hundred times
	for name, file := range map[string][]byte{"raw": small, "ova": ovaOf(t, small)} {
		t.Run(name, func(t *testing.T) {
			s := sourcetest.New(t, file, sourcetest.Manners{})
			jobtest.RunParallel(t, func(t *testing.T) jobtest.World[state] {
				w := newWorld(t, js)
				k := w.begin(t, Request{Name: "a", Link: s.URL})
				return jobtest.World[state]{Args: k.args, Steps: k.steps(), Check: func(t *testing.T, succeeded bool) {
					if !succeeded {
						w.wantNothingButLink(t, k)
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
func (w *world) wantNothingButLink(t *testing.T, k work) {
	t.Helper()
	left := slices.DeleteFunc(w.left(t), func(name string) bool { return name == k.Stage || name == k.Stage+".json" })
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	f, err := w.stage.Open(k.Stage)
	must(t, err)
	defer f.Close()
	if f.Offset() != 0 {
		t.Errorf("%d bytes of the source are left", f.Offset())
	}
}

// TestSeveralDisks makes an image of each disk of an OVA, or of the one that is
// chosen, and they agree. SYSTEMS 5.8.
func TestSeveralDisks(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	s := sourcetest.New(t, ovaOfTwo(t), sourcetest.Manners{})
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

// start starts a job that nobody runs, and gives its work.
func (w *world) start(t *testing.T, r Request, id string) work {
	t.Helper()
	j, err := w.Start(t.Context(), r, id)
	must(t, err)
	k := work{Intake: w.Intake}
	must(t, json.Unmarshal(j.Args, &k.args))
	return k
}

// TestTwoOfOneName starts two imports of one name before either has claimed it: the
// first has what it asked for, and the second leaves nothing.
func TestTwoOfOneName(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	other := disk()
	copy(other, "other")
	a, b := sourcetest.New(t, disk(), sourcetest.Manners{}), sourcetest.New(t, other, sourcetest.Manners{})
	first := w.start(t, Request{Name: "a", Link: a.URL}, "")
	second := w.start(t, Request{Name: "a", Link: b.URL}, "")
	again := w.start(t, Request{Name: "a", Link: a.URL}, "")
	must(t, w.cfg.Fleet.Images.Create(t.Context(), "a", droveway.Image{Meta: droveway.Meta{Name: "a"}, Job: "another"}))
	for _, k := range []work{second, again} {
		if j := k.do(t, t.Context()); j.State != droveway.JobFailed || !strings.Contains(j.Error, "being imported by job another") {
			t.Errorf("the job %s: %s", j.State, j.Error)
		}
		if w.stage.Has(k.Stage) {
			t.Error("it leaves what was staged for it")
		}
	}
	must(t, w.cfg.Fleet.Images.Delete(t.Context(), "a"))
	result(t, first.do(t, t.Context()))
	w.wantImage(t, "a", disk())
}

// TestOneRequest starts an import twice by the same request, and another by its name.
func TestOneRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	s := sourcetest.New(t, disk(), sourcetest.Manners{})
	r := Request{Name: "a", Link: s.URL}
	first := w.start(t, r, "request")
	if again := w.start(t, r, "request"); again.Stage != first.Stage {
		t.Error("the same request has another transfer")
	}
	before := w.left(t)
	// As if both had found no job: what the manager says then counts.
	r.Disk = "1"
	a, err := w.prepare(r, "request")
	must(t, err)
	if _, err := w.cfg.Jobs.Submit(t.Context(), Kind, "image/a", a, job.SubmitOptions{RequestID: "request"}); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("another import by the same request: %v", err)
	}
	w.drop(a)
	if d := cmp.Diff(before, w.left(t)); d != "" || !w.stage.Has(first.Stage) {
		t.Errorf("left (-want +got):\n%s", d)
	}
}

// TestSweep removes what was abandoned when something else begins, but not what jobs
// that have not ended need.
func TestSweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	s := sourcetest.New(t, disk(), sourcetest.Manners{})
	age := func() {
		t.Helper()
		old := time.Now().Add(-stage.Keep - time.Hour)
		entries, err := os.ReadDir(filepath.Join(w.dir, ".stage"))
		must(t, err)
		for _, e := range entries {
			must(t, os.Chtimes(filepath.Join(w.dir, ".stage", e.Name()), old, old))
		}
	}
	_, _ = w.Receive(t.Context(), "a", "u", 0, 9, strings.NewReader("part"))
	running := w.start(t, Request{Name: "b", Link: s.URL}, "")
	age()
	w.start(t, Request{Name: "c", Link: s.URL}, "")
	if w.stage.Has(staged("a", "u")) || !w.stage.Has(running.Stage) {
		t.Error("Start removed the wrong one")
	}
	_, _ = w.Receive(t.Context(), "a", "u", 0, 9, strings.NewReader("part"))
	age()
	_, _ = w.Receive(t.Context(), "d", "u", 0, 9, strings.NewReader("part"))
	if w.stage.Has(staged("a", "u")) || !w.stage.Has(running.Stage) || !w.stage.Has(staged("d", "u")) {
		t.Error("Receive removed the wrong one")
	}
}

// TestLookedAt looks at an upload while the job opens it: the job tries again.
func TestLookedAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	_, err := w.Receive(t.Context(), "a", "u", 0, 0, bytes.NewReader(disk()))
	must(t, err)
	k := w.begin(t, Request{Name: "a", Upload: "u"})
	for _, step := range []string{"fetch", "examine", "convert"} {
		f, err := w.stage.Open(k.Stage)
		must(t, err)
		steps := slices.DeleteFunc(k.steps(), func(s job.Step[state]) bool { return s.Name != step })
		rec, err := job.NewRecord(steps)
		must(t, err)
		rec.State = json.RawMessage(`{"images":["a"]}`)
		must(t, job.Execute(t.Context(), rec, steps, job.Env{Journal: memory{}, Log: slog.New(slog.DiscardHandler), Retry: func(n job.Failures) time.Duration {
			if n.All == 2 {
				must(t, f.Close())
			}
			return time.Millisecond
		}}))
		if rec.Job.State != droveway.JobSucceeded {
			t.Errorf("%s: the job %s: %s", step, rec.Job.State, rec.Job.Error)
		}
	}
}

// TestConvertsBeside has a file where a conversion that survives a kill is to be: it
// becomes the image.
func TestConvertsBeside(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	k := w.begin(t, Request{Name: "a", Link: sourcetest.New(t, ovaOfTwo(t), sourcetest.Manners{}).URL})
	var parts []os.FileInfo
	for _, name := range []string{"0.qcow2", "1.qcow2"} {
		path := w.stage.Beside(k.Stage, name)
		must(t, os.WriteFile(path, []byte("begun"), 0o600))
		info, err := os.Stat(path)
		must(t, err)
		parts = append(parts, info)
	}
	for i, name := range result(t, k.do(t, t.Context())).Images {
		info, err := os.Stat(filepath.Join(w.dir, name))
		must(t, err)
		if !os.SameFile(info, parts[i]) {
			t.Errorf("%s was made elsewhere", name)
		}
	}
}

// TestTaken has an OVA of which one name is taken: the other is not made either.
func TestTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	s := sourcetest.New(t, ovaOfTwo(t), sourcetest.Manners{})
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
