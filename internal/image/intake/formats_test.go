package intake

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway"
)

func tool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %q: %v\n%s", args, err, out)
	}
}

// made is a disk as qemu-img writes it with these arguments.
func made(t *testing.T, disk []byte, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	raw, out := filepath.Join(dir, "raw"), filepath.Join(dir, "out")
	must(t, os.WriteFile(raw, disk, 0o600))
	tool(t, append(append([]string{"convert", "-f", "raw"}, args...), raw, out)...)
	b, err := os.ReadFile(out)
	must(t, err)
	return b
}

// archive packs names and contents, in pairs.
func archive(t *testing.T, pairs ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		contents := pairs[i+1].([]byte)
		must(t, w.WriteHeader(&tar.Header{Name: pairs[i].(string), Size: int64(len(contents)), Mode: 0o644, Typeflag: tar.TypeReg}))
		_, err := w.Write(contents)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

// sent imports what a client sends, as it is.
func (w *world) sent(t *testing.T, file []byte, r Request) droveway.Job {
	t.Helper()
	_, err := w.Receive(t.Context(), "a", "u", 0, int64(len(file)), bytes.NewReader(file))
	must(t, err)
	r.Name, r.Upload, r.Repair, r.Check = "a", "u", droveway.RepairNone, droveway.CheckNone
	return w.begin(t, r).do(t, t.Context())
}

// wantRefused is that a job found out at once that it cannot be done, and why.
func (w *world) wantRefused(t *testing.T, j droveway.Job, says string) {
	t.Helper()
	if j.State != droveway.JobFailed || !strings.Contains(j.Error, says) || strings.Contains(j.Error, " times: ") {
		t.Errorf("the job %s: %q, want that it says %q, and at once", j.State, j.Error, says)
	}
	w.wantNothing(t)
}

// remove removes the image a.
func (w *world) remove(t *testing.T) {
	t.Helper()
	must(t, w.cfg.Library.Remove("a"))
	must(t, w.cfg.Fleet.Images.Delete(t.Context(), "a"))
	w.wantNothing(t)
}

// formats are the test's disk in every format.
func formats(t *testing.T) map[string]sample {
	t.Helper()
	stream := made(t, disk(), "-O", "vmdk", "-o", "subformat=streamOptimized")
	return map[string]sample{
		"raw":       {disk(), "raw", true},
		"qcow2":     {made(t, disk(), "-O", "qcow2"), "qcow2", true},
		"zlib":      {made(t, disk(), "-c", "-O", "qcow2"), "qcow2", true},
		"zstd":      {made(t, disk(), "-c", "-O", "qcow2", "-o", "compression_type=zstd"), "qcow2", true},
		"vmdk":      {made(t, disk(), "-O", "vmdk"), "vmdk", false},
		"stream":    {stream, "vmdk", false},
		"vhd":       {made(t, disk(), "-O", "vpc", "-o", "force_size=on"), "vhd", false},
		"vhd-fixed": {made(t, disk(), "-O", "vpc", "-o", "subformat=fixed,force_size=on"), "vhd", false},
		"vhdx":      {made(t, disk(), "-O", "vhdx"), "vhdx", false},
		"tar":       {archive(t, "a.vmdk", stream), "tar", false},
		"ova":       {archive(t, "m.ovf", []byte("<Envelope/>"), "a.vmdk", stream, "m.mf", []byte("SHA256(a.vmdk)= "+sum(stream))), "ova", false},
	}
}

type sample struct {
	file   []byte
	format string
	kept   bool
}

// TestFormatsAgree imports one disk in every format: the guest's bytes are the same
// each time. SYSTEMS 5.8.
func TestFormatsAgree(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	want := filepath.Join(t.TempDir(), "want")
	must(t, os.WriteFile(want, disk(), 0o600))
	for name, c := range formats(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, js)
			result(t, w.sent(t, c.file, Request{SHA256: strings.ToUpper(sum(c.file))}))
			var as []byte // it is kept as it is
			if c.kept {
				as = c.file
			}
			img := w.wantImage(t, "a", as)
			if img.Source.Format != c.format || img.Source.SHA256 != sum(c.file) || img.Source.Bytes != int64(len(c.file)) || img.Size != int64(len(disk())) {
				t.Errorf("image %+v from %+v", img, img.Source)
			}
			if !c.kept && img.Format != droveway.QCOW2 {
				t.Errorf("it became %s", img.Format)
			}
			tool(t, "compare", "-f", "raw", "-F", string(img.Format), want, filepath.Join(w.dir, "a"))
		})
	}
}

// damages are ways to spoil a file: cuts, and bits that flip where something is.
func damages(file []byte) map[string][]byte {
	all := map[string][]byte{}
	for _, n := range []int{len(file) / 4, len(file) / 2, len(file) - 512, len(file) - 1} {
		all[fmt.Sprintf("cut to %d", n)] = file[:n]
	}
	var places []int
	for at := 0; at < len(file); at += 512 {
		if end := min(at+512, len(file)); !bytes.Equal(file[at:end], make([]byte, end-at)) {
			places = append(places, at)
		}
	}
	random := rand.New(rand.NewPCG(5, 10))
	for range 8 {
		b := bytes.Clone(file)
		at := places[random.IntN(min(len(places), 8))] + random.IntN(512)
		at = min(at, len(b)-1)
		b[at] ^= 1 << random.IntN(8)
		all[fmt.Sprintf("bit at %d", at)] = b
	}
	return all
}

// TestDamaged imports images of every format that were cut, or whose bits have
// flipped: the checksum tells, and without one an import fails at once for a reason that
// concerns the image, or its disk has the size it says. SYSTEMS 5.9, 5.10.
func TestDamaged(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	for name, c := range formats(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, js)
			for damage, file := range damages(c.file) {
				before := sum(file)
				w.wantRefused(t, w.sent(t, file, Request{SHA256: sum(c.file)}), "as ordered")
				if j := w.sent(t, file, Request{}); j.State == droveway.JobSucceeded {
					img := w.wantImage(t, "a", nil)
					tool(t, "info", "-f", string(img.Format), filepath.Join(w.dir, "a"))
					w.remove(t)
				} else {
					w.wantRefused(t, j, "step ")
				}
				if sum(file) != before {
					t.Errorf("%s: the source has changed", damage)
				}
			}
		})
	}
}

// TestHostile imports what nobody should. SYSTEMS 5.10.
func TestHostile(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	backed := made(t, disk(), "-O", "qcow2")
	copy(backed[8:], []byte{0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 11})
	copy(backed[512:], "/etc/shadow")
	huge := made(t, disk(), "-O", "qcow2")
	copy(huge[24:], []byte{0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0})
	vmdk := made(t, disk(), "-O", "vmdk")
	descriptor := []byte("# Disk DescriptorFile\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 6144 FLAT \"/etc/shadow\" 0\n" + strings.Repeat("#\n", 300))
	for name, c := range map[string]struct {
		req  Request
		file []byte
		says string
	}{
		"backing file":   {Request{}, backed, "backing file"},
		"8 EiB":          {Request{}, huge, "virtual size"},
		"another sum":    {Request{SHA256: sum(nil)}, disk(), "as ordered"},
		"foreign extent": {Request{}, descriptor, "/etc/shadow"},
		"extent in tar":  {Request{}, archive(t, "a.vmdk", descriptor), "/etc/shadow"},
		"climbing":       {Request{}, archive(t, "../a.vmdk", vmdk), "plain names"},
		"truncated":      {Request{}, made(t, disk(), "-O", "vhdx")[:3<<20], "truncated"},
		"cut qcow2":      {Request{}, made(t, disk(), "-O", "qcow2")[:200<<10], "truncated"},
		"wrong manifest": {Request{}, archive(t, "a.vmdk", vmdk, "m.mf", []byte("SHA256(a.vmdk)= "+sum(nil))), "manifest says"},
		"third of two":   {Request{Disk: "3"}, archive(t, "a.vmdk", vmdk, "b.vmdk", vmdk), "1 a.vmdk, 2 b.vmdk"},
		"gzip":           {Request{}, append([]byte("\x1f\x8b"), make([]byte, 4096)...), "gzip"},
		"text":           {Request{}, []byte("<html>404</html>"), "the file is no disk image"},
		"empty":          {Request{}, nil, "empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, js)
			w.wantRefused(t, w.sent(t, c.file, c.req), c.says)
		})
	}
}

// TestChosenDisk imports the second disk of an archive.
func TestChosenDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, startStore(t))
	other := bytes.Repeat([]byte{0x55, 0xaa}, 4096)
	for _, choice := range []string{"2", "b.img"} {
		result(t, w.sent(t, archive(t, "a.vmdk", made(t, disk(), "-O", "vmdk"), "b.img", other), Request{Disk: choice}))
		if img := w.wantImage(t, "a", nil); img.Size != int64(len(other)) || img.Source.Member != "b.img" {
			t.Errorf("%s: %d bytes of %q", choice, img.Size, img.Source.Member)
		}
		w.remove(t)
	}
}
