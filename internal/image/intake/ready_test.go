package intake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/job/jobtest"
	"github.com/droveway/droveway/internal/image/appliance"
	"github.com/droveway/droveway/internal/image/bootcheck"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/image/imagetest"
	"github.com/droveway/droveway/internal/image/sourcetest"
)

// debian is a Debian whose fstab names disks that are not there, and that boots by
// UEFI alone.
func debian(t *testing.T) []byte {
	t.Helper()
	return imagetest.Image(t, "../../inspect/testdata/split")
}

// workshop stands for the appliance and for the boot check.
type workshop struct {
	mu       sync.Mutex
	repaired int
	steps    []string // of the last plan
	keys     int      // that the last repair was given
	full     bool     // the last repair was to run the guest's programs
	booted   []bootcheck.Request
	marked   bool // what was booted last was repaired

	missing error              // of Able and Ready
	cannot  error              // of Ready
	fails   error              // of Repair
	idle    bool               // Repair changes nothing
	boot    droveway.BootCheck // of Run
}

func (k *workshop) Repair(_ context.Context, r appliance.Request) (*appliance.Result, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.repaired++
	k.steps, k.full, k.keys = nil, r.Full, len(r.Keys)
	for _, s := range r.Plan.Steps {
		k.steps = append(k.steps, s.Name)
	}
	if k.fails != nil {
		return nil, k.fails
	}
	for _, a := range [][]string{{"create", "-q", "-f", "qcow2", "-F", "raw", "-b", r.Image, r.Overlay}} {
		if out, err := exec.Command("qemu-img", a...).CombinedOutput(); err != nil {
			return nil, errors.New(string(out))
		}
	}
	if k.idle {
		return &appliance.Result{}, nil
	}
	if out, err := exec.Command("qemu-io", "-f", "qcow2", "-c", "write -q -P 0x77 0 440", r.Overlay).CombinedOutput(); err != nil {
		return nil, errors.New(string(out))
	}
	return &appliance.Result{Log: "the log of the repair", Changes: []appliance.Change{{Step: "fstab", Path: "/etc/fstab", Before: "a", After: "b", Backup: "/etc/fstab.droveway-orig"}}}, nil
}

func (k *workshop) Able(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.missing
}

func (k *workshop) Ready(context.Context, droveway.Firmware) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return errors.Join(k.missing, k.cannot)
}

func (k *workshop) Run(_ context.Context, r bootcheck.Request) (droveway.BootCheck, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.booted = append(k.booted, r)
	i, err := format.Open(r.Image)
	if err != nil {
		return k.boot, err
	}
	defer i.Close()
	code := make([]byte, 440)
	_, err = i.ReadAt(code, 0)
	k.marked = bytes.Equal(code, bytes.Repeat([]byte{0x77}, len(code)))
	return k.boot, err
}

func (k *workshop) Discard(context.Context, string) error { return nil }

func (w *world) furnish() *workshop {
	k := &workshop{boot: droveway.BootCheck{Verdict: droveway.BootOK, Sign: "login", Reason: "it asks for a login", Console: "web login:"}}
	w.cfg.Repairer, w.cfg.Checker = k, k
	return k
}

// TestRepairedJob kills an import with a repair and a boot check at every write of
// its journal, cancels it at each, and fails every step: the repaired image, booted, or
// nothing at all.
func TestRepairedJob(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	s := sourcetest.New(t, debian(t), sourcetest.Manners{})
	jobtest.RunParallel(t, func(t *testing.T) jobtest.World[state] {
		w := newWorld(t, js)
		shop := w.furnish()
		k := w.begin(t, Request{Name: "a", Link: s.URL})
		return jobtest.World[state]{Args: k.args, Steps: k.steps(), Check: func(t *testing.T, succeeded bool) {
			if !succeeded {
				w.wantNothingButLink(t, k)
				return
			}
			w.wantRepaired(t, shop)
		}}
	})
}

// wantRepaired has the image repaired, booted after that, and described.
func (w *world) wantRepaired(t *testing.T, shop *workshop) {
	t.Helper()
	img := w.wantImage(t, "a", nil)
	if img.Firmware != droveway.UEFI || img.System == nil || img.System.Status != droveway.ImageIdentified || len(img.Changes) != 1 || img.Boot == nil || img.Boot.Verdict != droveway.BootOK {
		t.Errorf("image %+v", img)
	}
	kept, err := w.cfg.Library.Get("a")
	must(t, err)
	if d := cmp.Diff(img.Changes, kept.Changes); d != "" || kept.Firmware != img.Firmware || kept.Boot == nil {
		t.Errorf("the library says %+v", kept)
	}
	if len(shop.booted) == 0 || !shop.marked || shop.booted[0].Firmware != droveway.UEFI || shop.booted[0].Format != droveway.QCOW2 {
		t.Errorf("booted: %+v, repaired %t", shop.booted, shop.marked)
	}
	if left := w.left(t); len(left) != 3 {
		t.Errorf("left: %v", left)
	}
}

// TestDecisions has what each choice does with an image that needs a repair, with one
// that holds no system, and where the means are missing. SYSTEMS 5.9: the source stays
// as it is, as what is repaired is another file.
func TestDecisions(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	none := droveway.Missing("qemu", "qemu-system-x86_64 is not installed: install the package qemu-system-x86")
	for name, k := range map[string]struct {
		repair           droveway.Repair
		check            droveway.Check
		data             bool // the disk holds no system
		missing, cannot  error
		repaired, booted int
		fails, note      string
	}{
		"auto":             {repaired: 1, booted: 1},
		"auto, no means":   {missing: none, note: "needs a repair"},
		"auto, no boots":   {cannot: none, repaired: 1, note: "is not booted"},
		"auto, data":       {data: true},
		"none":             {repair: droveway.RepairNone},
		"none, boot":       {repair: droveway.RepairNone, check: droveway.CheckBoot, booted: 1},
		"auto, no check":   {check: droveway.CheckNone, repaired: 1},
		"force":            {repair: droveway.RepairForce, repaired: 1, booted: 1},
		"force, no means":  {repair: droveway.RepairForce, missing: none, fails: "qemu-system-x86"},
		"boot, no means":   {repair: droveway.RepairNone, check: droveway.CheckBoot, missing: none, fails: "qemu-system-x86"},
		"force, data":      {repair: droveway.RepairForce, data: true, fails: "cannot be repaired"},
		"none, force boot": {repair: droveway.RepairNone, check: droveway.CheckBoot, data: true, booted: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, js)
			shop := w.furnish()
			shop.missing, shop.cannot = k.missing, k.cannot
			source := debian(t)
			if k.data {
				source = disk()
			}
			r := Request{Name: "a", Link: sourcetest.New(t, source, sourcetest.Manners{}).URL, Repair: k.repair, Check: k.check}
			err := w.able(t.Context(), r)
			if early := k.missing != nil && k.fails != ""; early != droveway.Is(err, droveway.Unsupported) {
				t.Errorf("before anything is done: %v", err)
			}
			j := w.begin(t, r).do(t, t.Context())
			if k.fails != "" {
				if j.State != droveway.JobFailed || !strings.Contains(j.Error, k.fails) {
					t.Errorf("the job %s: %s", j.State, j.Error)
				}
				w.wantNothing(t)
				return
			}
			res := result(t, j)
			if shop.repaired != k.repaired || len(shop.booted) != k.booted || len(shop.booted) > 0 && shop.marked != (k.repaired > 0) {
				t.Errorf("repaired %d times, booted %d, what was repaired: %t", shop.repaired, len(shop.booted), shop.marked)
			}
			img := w.wantImage(t, "a", map[bool][]byte{true: nil, false: source}[k.repaired > 0])
			if (len(img.Changes) > 0) != (k.repaired > 0) || (img.Boot != nil) != (k.booted > 0) {
				t.Errorf("image %+v", img)
			}
			if k.note != "" && !slices.ContainsFunc(res.Notes, func(n string) bool { return strings.Contains(n, k.note) && strings.Contains(n, "qemu-system-x86") }) {
				t.Errorf("notes %q", res.Notes)
			}
			if k.repaired > 0 && !slices.Contains(shop.steps, "cards") {
				t.Error("the names of network cards are not kept")
			}
		})
	}
}

// TestWishes has the repair do what was asked for by name, and refuses or tells what
// cannot be done. SYSTEMS 5.7
func TestWishes(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	none := droveway.Missing("qemu", "qemu-system-x86_64 is not installed")
	for name, k := range map[string]struct {
		ask         Request
		data        bool // the disk holds no system
		missing     error
		fails       error // of the repair
		dhcp, full  bool
		ends, noted string
	}{
		"nothing":         {},
		"dhcp":            {ask: Request{Addresses: droveway.AddressesDHCP}, dhcp: true},
		"guest":           {ask: Request{Rebuild: droveway.RebuildGuest}, full: true},
		"both":            {ask: Request{Addresses: droveway.AddressesDHCP, Rebuild: droveway.RebuildGuest}, dhcp: true, full: true},
		"dhcp, no system": {ask: Request{Addresses: droveway.AddressesDHCP}, data: true, noted: "no address was given up"},
		"dhcp, no means":  {ask: Request{Addresses: droveway.AddressesDHCP}, missing: none, ends: "qemu-system-x86"},
		"dhcp, no kernel": {ask: Request{Addresses: droveway.AddressesDHCP}, fails: droveway.Missing("image.repair", "no kernel"), ends: "no kernel"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, js)
			shop := w.furnish()
			shop.missing, shop.fails = k.missing, k.fails
			source := debian(t)
			if k.data {
				source = disk()
			}
			k.ask.Name, k.ask.Link = "a", sourcetest.New(t, source, sourcetest.Manners{}).URL
			j := w.begin(t, k.ask).do(t, t.Context())
			if k.ends != "" {
				if j.State != droveway.JobFailed || !strings.Contains(j.Error, k.ends) {
					t.Errorf("the job %s: %s", j.State, j.Error)
				}
				w.wantNothing(t)
				return
			}
			res := result(t, j)
			if slices.Contains(shop.steps, "dhcp") != k.dhcp || shop.full != k.full {
				t.Errorf("the repair was to do %v, with the guest's programs: %t", shop.steps, shop.full)
			}
			if noted := strings.Contains(strings.Join(res.Notes, "\n"), "no address was given up"); noted != (k.noted != "") {
				t.Errorf("notes %q", res.Notes)
			}
		})
	}
}

// TestDoesNotBoot publishes no image that fails its boot check, and keeps what was
// seen. SYSTEMS 5.5.
func TestDoesNotBoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	shop := w.furnish()
	shop.boot = droveway.BootCheck{Verdict: droveway.BootFailed, Sign: "initramfs-tools", Reason: "the initramfs does not find the root", Console: "(initramfs)"}
	j := w.begin(t, Request{Name: "a", Link: sourcetest.New(t, debian(t), sourcetest.Manners{}).URL}).do(t, t.Context())
	if j.State != droveway.JobFailed || !strings.Contains(j.Error, "does not boot: the initramfs does not find the root") || !strings.Contains(j.Error, "--check none") {
		t.Errorf("the job %s: %s", j.State, j.Error)
	}
	var res droveway.ImportResult
	must(t, json.Unmarshal(j.Result, &res))
	if res.Boot == nil || res.Boot.Console != "(initramfs)" || res.Log != "the log of the repair" || len(res.Changes) != 1 || len(res.Images) > 0 {
		t.Errorf("result %+v", res)
	}
	w.wantNothing(t)
}

// TestUnknown publishes an image of which nothing could be told, and says so.
func TestUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	shop := w.furnish()
	shop.boot = droveway.BootCheck{Verdict: droveway.BootUnknown, Reason: "its serial console was silent"}
	res := result(t, w.begin(t, Request{Name: "a", Link: sourcetest.New(t, debian(t), sourcetest.Manners{}).URL}).do(t, t.Context()))
	if img := w.wantImage(t, "a", nil); img.Boot == nil || img.Boot.Verdict != droveway.BootUnknown || res.Boot == nil || len(res.Notes) == 0 {
		t.Errorf("%+v, %+v", img, res)
	}
}

// TestRepairFails leaves nothing of an image whose repair fails, but one that this
// version cannot repair is imported as it is, unless that was asked for.
func TestRepairFails(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	for name, k := range map[string]struct {
		how   droveway.Repair
		err   error
		state droveway.JobState
		tried int
	}{
		"auto":             {droveway.RepairAuto, droveway.Errorf(droveway.Conflict, "step initramfs: no space left"), droveway.JobFailed, 1},
		"auto, no kernel":  {droveway.RepairAuto, droveway.Missing("image.repair", "no kernel"), droveway.JobSucceeded, 1},
		"force, no kernel": {droveway.RepairForce, droveway.Missing("image.repair", "no kernel"), droveway.JobFailed, 1},
		"it failed":        {droveway.RepairAuto, droveway.Errorf(droveway.Internal, "step mount: the appliance ended"), droveway.JobFailed, 1},
		"too long":         {droveway.RepairAuto, droveway.Errorf(droveway.Unavailable, "stopped: %w", appliance.ErrTooLong), droveway.JobFailed, 1},
		"not begun":        {droveway.RepairAuto, droveway.Errorf(droveway.Unavailable, "start qemu: too many processes"), droveway.JobFailed, 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, js)
			shop := w.furnish()
			shop.fails = k.err
			source := debian(t)
			j := w.begin(t, Request{Name: "a", Link: sourcetest.New(t, source, sourcetest.Manners{}).URL, Repair: k.how}).do(t, t.Context())
			if j.State != k.state || shop.repaired != k.tried {
				t.Errorf("the job %s after %d attempts: %s", j.State, shop.repaired, j.Error)
			}
			if k.state == droveway.JobFailed {
				w.wantNothing(t)
				return
			}
			w.wantImage(t, "a", source)
			if res := result(t, j); len(res.Notes) == 0 {
				t.Error("nobody is told")
			}
		})
	}
}

// TestForesees has a dry run that tells what a repair would change, from afar, and
// copies nothing.
func TestForesees(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	p, err := w.Plan(t.Context(), Request{Name: "a", Link: sourcetest.New(t, debian(t), sourcetest.Manners{}).URL})
	must(t, err)
	i := p.Images[0]
	if i.System == nil || i.System.Status != droveway.ImageIdentified || !i.Repair || !i.Check || i.Firmware != droveway.UEFI || !slices.ContainsFunc(i.System.Steps, func(c droveway.PlannedChange) bool {
		return c.Step == "fstab" && slices.Contains(c.Files, "/etc/fstab")
	}) {
		t.Errorf("%+v", i)
	}
	w.wantNothing(t)
	for _, r := range []Request{{Repair: "maybe"}, {Check: "maybe"}, {MACs: []string{"x"}}, {Addresses: "maybe"}, {Rebuild: "maybe"}, {Repair: droveway.RepairNone, Addresses: droveway.AddressesDHCP}, {Repair: droveway.RepairNone, Rebuild: droveway.RebuildGuest}} {
		r.Name, r.Link = "a", "https://example.org/a"
		if _, err := w.Plan(t.Context(), r); !droveway.Is(err, droveway.Invalid) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if _, err := os.Stat(w.cfg.Library.Work("a")); err == nil {
		t.Error("a place to work was made")
	}
}
