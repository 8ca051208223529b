package ova

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pack makes an archive of names and contents, in pairs.
func pack(t testing.TB, pairs ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(pairs); i += 2 {
		h := &tar.Header{Name: pairs[i], Size: int64(len(pairs[i+1])), Mode: 0o644, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// description is an OVF as VMware writes it, shortened, for two disks.
const description = `<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <References>
    <File ovf:href="m-disk1.vmdk" ovf:id="file1" ovf:size="9"/>
    <File ovf:href="m-disk2.vmdk" ovf:id="file2" ovf:size="9"/>
    <File ovf:href="m.iso" ovf:id="file3" ovf:size="3"/>
  </References>
  <DiskSection>
    <Info>Virtual disk information</Info>
    <Disk ovf:capacity="16" ovf:capacityAllocationUnits="byte * 2^30" ovf:diskId="vmdisk2" ovf:fileRef="file2"/>
    <Disk ovf:capacity="1048576" ovf:diskId="vmdisk1" ovf:fileRef="file1"/>
    <Disk ovf:capacity="7" ovf:diskId="blank"/>
  </DiskSection>
  <VirtualSystem ovf:id="m"/>
</Envelope>`

func manifest(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if i%4 == 0 {
			fmt.Fprintf(&b, "SHA256(%s)= %x\n", pairs[i], sha256.Sum256([]byte(pairs[i+1])))
		} else {
			fmt.Fprintf(&b, "SHA1 (%s) = %x\r\n", pairs[i], sha1.Sum([]byte(pairs[i+1])))
		}
	}
	return b.String()
}

func read(t testing.TB, b []byte) (*Archive, error) {
	t.Helper()
	return Read(bytes.NewReader(b), int64(len(b)))
}

func TestRead(t *testing.T) {
	t.Parallel()
	members := []string{"m.ovf", description, "m-disk1.vmdk", "first one", "m-disk2.vmdk", "2nd", "m.iso", "iso"}
	a, err := read(t, pack(t, append(members, "m.mf", manifest(members[:6]...))...))
	must(t, err)
	type disk struct {
		Name, ID       string
		Size, Capacity int64
	}
	var got []disk
	for _, d := range a.Disks {
		got = append(got, disk{d.Name, d.ID, d.Size, d.Capacity})
	}
	want := []disk{{"m-disk2.vmdk", "vmdisk2", 3, 16 << 30}, {"m-disk1.vmdk", "vmdisk1", 9, 1 << 20}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("disks (-want +got):\n%s", d)
	}
	b, err := io.ReadAll(a.Open(a.Disks[1].Member))
	if err != nil || string(b) != "first one" {
		t.Errorf("the disk holds %q (%v)", b, err)
	}
	if a.Manifest() != 3 {
		t.Errorf("the manifest names %d members", a.Manifest())
	}
	var done int64
	must(t, a.Verify(t.Context(), func(n int64) { done = n }))
	if want := int64(len(description) + 9 + 3); done != want {
		t.Errorf("%d bytes were checked, want %d", done, want)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if err := a.Verify(ctx, nil); !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("stopped: %v", err)
	}
}

// TestVerify changes a byte of a disk. SYSTEMS 5.10.
func TestVerify(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a.vmdk", "b.vmdk"} {
		b := pack(t, "a.vmdk", "disk a", "b.vmdk", "disk b", "x.mf", manifest("a.vmdk", "disk a", "b.vmdk", "disk b"))
		a, err := read(t, b)
		must(t, err)
		m, _ := a.Find(name)
		b[m.Offset]++
		err = a.Verify(t.Context(), nil)
		if !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s damaged: %v", name, err)
		}
	}
}

// TestRefused covers archives that lead out of themselves, or are damaged.
// SYSTEMS 5.10.
func TestRefused(t *testing.T) {
	t.Parallel()
	with := func(old, replace string) []byte {
		return pack(t, "m.ovf", strings.Replace(description, old, replace, 1), "m-disk1.vmdk", "1", "m-disk2.vmdk", "2")
	}
	for name, c := range map[string]struct {
		archive []byte
		kind    droveway.Kind
		says    string
	}{
		"climbs":          {pack(t, "../disk.vmdk", "x"), droveway.Invalid, "plain names"},
		"absolute":        {pack(t, "/etc/disk.vmdk", "x"), droveway.Invalid, "plain names"},
		"twice":           {pack(t, "a.vmdk", "x", "a.vmdk", "y"), droveway.Invalid, "two members"},
		"two OVFs":        {pack(t, "a.ovf", "x", "b.ovf", "y"), droveway.Invalid, "only one"},
		"no disk":         {pack(t, "notes.txt", "x"), droveway.Invalid, "without OVF"},
		"no disk by OVF":  {pack(t, "m.ovf", "<Envelope/>"), droveway.Invalid, "no disk"},
		"OVF is text":     {pack(t, "m.ovf", "hello", "a.vmdk", "x"), droveway.Invalid, "damaged"},
		"cut":             {pack(t, "a.vmdk", strings.Repeat("x", 4096))[:1024], droveway.Invalid, "truncated"},
		"file is missing": {pack(t, "m.ovf", description, "m-disk1.vmdk", "x"), droveway.Invalid, `"m-disk2.vmdk"`},
		"file elsewhere":  {with("m-disk1.vmdk", "file:///etc/shadow"), droveway.Invalid, "only files of the archive"},
		"file above":      {with("m-disk1.vmdk", "../../etc/shadow"), droveway.Invalid, "only files of the archive"},
		"file by http":    {with("m-disk1.vmdk", "http://host/disk"), droveway.Invalid, "only files of the archive"},
		"not listed":      {with(`fileRef="file1"`, `fileRef="file9"`), droveway.Invalid, "not listed"},
		"snapshot":        {with(`ovf:fileRef="file1"`, `ovf:fileRef="file1" ovf:parentRef="vmdisk2"`), droveway.Invalid, "snapshot"},
		"compressed":      {with(`ovf:size="9"`, `ovf:compression="gzip"`), droveway.Unsupported, "gzip"},
		"chunks":          {with(`ovf:size="9"`, `ovf:chunkSize="9"`), droveway.Unsupported, "chunks"},
		"absurd capacity": {with("2^30", "2^99"), droveway.Invalid, "too large"},
		"huge capacity":   {with(`"16"`, `"16000000000"`), droveway.Invalid, "no disk has that"},
		"odd capacity":    {with(`"16"`, `"a lot"`), droveway.Invalid, "no number"},
		"odd unit":        {with("byte * 2^30", "fortnight"), droveway.Invalid, "not known"},
		"manifest text":   {pack(t, "a.vmdk", "x", "x.mf", "hello"), droveway.Invalid, "no checksum"},
		"manifest short":  {pack(t, "a.vmdk", "x", "x.mf", "SHA256(a.vmdk)= 00"), droveway.Invalid, "wrong length"},
		"manifest twice":  {pack(t, "a.vmdk", "x", "x.mf", manifest("a.vmdk", "x", "a.vmdk", "x")), droveway.Invalid, "twice"},
		"many folders":    {folders(t, maxMembers+1), droveway.Invalid, "more than 1000 members"},
		"manifest names":  {pack(t, "a.vmdk", "x", "x.mf", manifest("../shadow", "")), droveway.Invalid, "not in the archive"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := read(t, c.archive)
			if droveway.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v of kind %q, want %q that says %q", err, droveway.KindOf(err), c.kind, c.says)
			}
		})
	}
}

// folders is an archive of nothing else.
func folders(t *testing.T, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range n {
		must(t, w.WriteHeader(&tar.Header{Name: fmt.Sprint("f", i, "/"), Typeflag: tar.TypeDir, Mode: 0o755}))
	}
	must(t, w.Close())
	return b.Bytes()
}

// repeated is the same bytes again and again.
type repeated []byte

func (r repeated) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		p[i] = r[(off+int64(i))%int64(len(r))]
	}
	return len(p), nil
}

// TestEndlessHeaders has an archive of headers that announce a header each, which a
// server can make up for ever. SYSTEMS 5.10.
func TestEndlessHeaders(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.WriteHeader(&tar.Header{Name: "a.vmdk", Typeflag: tar.TypeReg, Format: tar.FormatPAX, PAXRecords: map[string]string{"comment": "x"}}))
	announcement := b.Bytes()[:2*tarBlock] // the header of the member comes after it
	done := make(chan error, 1)
	go func() {
		_, err := Read(repeated(announcement), 64<<40)
		done <- err
	}()
	select {
	case err := <-done:
		if !droveway.Is(err, droveway.Invalid) || !strings.Contains(err.Error(), "bytes of headers") {
			t.Errorf("%v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it reads on")
	}
}

// TestLinks packs links that lead out: they are no members. SYSTEMS 5.10.
func TestLinks(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.WriteHeader(&tar.Header{Name: "a.vmdk", Typeflag: tar.TypeSymlink, Linkname: "/etc/shadow"}))
	must(t, w.WriteHeader(&tar.Header{Name: "b.vmdk", Typeflag: tar.TypeLink, Linkname: "../../etc/shadow"}))
	must(t, w.Close())
	if a, err := read(t, b.Bytes()); err == nil {
		t.Errorf("the links are taken for %v", a.Disks)
	}
}

func TestCapacity(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		number, unit string
		want         int64
	}{
		{"", "", 0}, {"7", "", 7}, {"7", "byte", 7}, {"3", "byte * 2^20", 3 << 20}, {"3", "byte*10^3", 3000}, {"2", "GigaBytes", 2 << 30},
	} {
		if got, err := capacity(c.number, c.unit); err != nil || got != c.want {
			t.Errorf("%s %s: %d, %v; want %d", c.number, c.unit, got, err, c.want)
		}
	}
}

func TestBundle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	contents := map[string]string{"a.vmdk": "descriptor", "a-flat.vmdk": strings.Repeat("0123456789", 100), "empty.vmdk": ""}
	var paths []string
	for _, name := range []string{"a.vmdk", "a-flat.vmdk", "empty.vmdk"} {
		p := filepath.Join(dir, name)
		must(t, os.WriteFile(p, []byte(contents[name]), 0o600))
		paths = append(paths, p)
	}
	b, err := NewBundle(paths)
	must(t, err)
	defer b.Close()
	whole, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	if err != nil || int64(len(whole)) != b.Size() {
		t.Fatalf("read %d of %d bytes, %v", len(whole), b.Size(), err)
	}
	for at := range int64(len(whole)) { // from every place, as a transfer that goes on
		p := make([]byte, 700)
		n, err := b.ReadAt(p, at)
		if !bytes.Equal(p[:n], whole[at:min(at+700, int64(len(whole)))]) || n < len(p) && err != io.EOF {
			t.Fatalf("at %d: %d bytes differ (%v)", at, n, err)
		}
	}
	a, err := Read(b, b.Size())
	must(t, err)
	for name, want := range contents {
		m, ok := a.Find(name)
		got, err := io.ReadAll(a.Open(m))
		if !ok || err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if _, err := NewBundle([]string{filepath.Join(dir, "none")}); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("a missing part: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(pack(f, "m.ovf", description, "m-disk1.vmdk", "1", "m-disk2.vmdk", "2", "m.mf", manifest("m-disk1.vmdk", "1")))
	f.Add(pack(f, "a.img", "x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := read(t, b)
		if err != nil {
			return
		}
		for _, m := range a.Members {
			if m.Offset < 0 || m.Size < 0 || m.Offset+m.Size > int64(len(b)) {
				t.Fatalf("member %q lies outside: %d bytes at %d of %d", m.Name, m.Size, m.Offset, len(b))
			}
		}
		_ = a.Verify(t.Context(), nil)
	})
}

func FuzzOVF(f *testing.F) {
	f.Add([]byte(description))
	f.Fuzz(func(t *testing.T, b []byte) {
		disks, _ := parseOVF(b)
		for _, d := range disks {
			if d.capacity < 0 || !plain(d.file) {
				t.Fatalf("disk %+v", d)
			}
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(manifest("a", "b", "c", "d")))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseManifest(b) })
}
