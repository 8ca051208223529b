package volume

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/droveway/droveway"
)

func TestInspectTakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disk := testDisk()
	size := int64(len(disk))
	qcow := image(t, disk, droveway.QCOW2)
	ext := make([]byte, 1<<20)
	copy(ext[1080:], "\x53\xef")
	for name, c := range map[string]struct {
		bytes []byte
		want  Info
	}{
		"raw with MBR":  {disk, Info{droveway.Raw, size, size}},
		"raw with ext":  {ext, Info{droveway.Raw, 1 << 20, 1 << 20}},
		"qcow2":         {qcow, Info{droveway.QCOW2, size, int64(len(qcow))}},
		"comma, in:out": {qcow, Info{droveway.QCOW2, size, int64(len(qcow))}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Inspect(t.Context(), write(t, filepath.Join(dir, name), c.bytes))
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v; want %+v", got, err, c.want)
			}
		})
	}
}

func TestInspectRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	qcow := image(t, testDisk(), droveway.QCOW2)
	patched := func(name string, off int, mark string) string {
		b := append([]byte(nil), qcow...)
		copy(b[off:], mark)
		return write(t, at(name), b)
	}
	made := func(name string, args ...string) string {
		qemuImg(t, append([]string{"create", "-q"}, append(args, at(name))...)...)
		return at(name)
	}
	sized := func(name, size string, args ...string) string {
		qemuImg(t, append(append([]string{"create", "-q"}, args...), at(name), size)...)
		return at(name)
	}
	sparse := write(t, at("sparse"), testDisk())
	if err := os.Truncate(sparse, MaxSize+512); err != nil {
		// A file system with smaller files cannot show this; the header test does.
		t.Logf("no file of 64 TiB here: %v", err)
		sparse = sized("sparse.qcow2", "65T", "-f", "qcow2")
	}
	for name, c := range map[string]struct {
		path string
		says string
	}{
		"text":           {write(t, at("text"), []byte("hello, disk\n")), "no disk image"},
		"empty":          {write(t, at("empty"), nil), "empty"},
		"blank raw":      {write(t, at("blank"), make([]byte, 1<<20)), "neither a partition table nor a file system"},
		"torn raw":       {write(t, at("torn"), testDisk()[:1<<20+100]), "whole sectors"},
		"gzip":           {write(t, at("gz"), []byte("\x1f\x8b\x08\x00 and so on")), "gzip"},
		"vmdk":           {sized("vmdk", "1M", "-f", "vmdk"), "VMDK"},
		"vmdk text":      {write(t, at("desc"), []byte("# Disk DescriptorFile\nRW 8 FLAT \"/etc/shadow\" 0\n")), "VMDK descriptor"},
		"vdi":            {sized("vdi", "1M", "-f", "vdi"), "VDI"},
		"vhdx":           {sized("vhdx", "1M", "-f", "vhdx"), "VHDX"},
		"short header":   {write(t, at("h1"), qcow[:60]), "ends within its header"},
		"shorter v3":     {write(t, at("h2"), qcow[:80]), "truncated"},
		"only header":    {write(t, at("h3"), qcow[:104]), "qcow2 image"},
		"truncated":      {write(t, at("t1"), qcow[:len(qcow)-200<<10]), "truncated or damaged"},
		"more truncated": {write(t, at("t2"), qcow[:100<<10]), "truncated or damaged"},
		"backing file":   {made("backing", "-f", "qcow2", "-u", "-F", "raw", "-b", "/etc/shadow", "-o", "size=1M"), "backing file"},
		"external data":  {sized("external", "1M", "-f", "qcow2", "-o", "data_file="+at("data")), "external file"},
		"size 0":         {sized("zero", "0", "-f", "qcow2"), "size 0"},
		"absurd size":    {sized("huge", "65T", "-f", "qcow2"), "64 TiB"},
		"absurd raw":     {sparse, "64 TiB"},
		"encrypted":      {patched("luks", 32, "\x00\x00\x00\x02"), "encrypted"},
		"corrupt":        {patched("corrupt", 79, "\x02"), "marked corrupt"},
		"future":         {patched("future", 72, "\x80"), "unknown features"},
		"version 9":      {patched("v9", 4, "\x00\x00\x00\x09"), "version 9"},
		"clusters":       {patched("clusters", 20, "\x00\x00\x00\x3f"), "clusters"},
		"huge table":     {patched("l1", 36, "\x7f\xff\xff\xff"), "cannot be opened"},
		"directory":      {dir, "no regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Inspect(t.Context(), c.path)
			wantError(t, err, droveway.Invalid, c.says)
		})
	}
}

func TestInspectAs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	blank := write(t, filepath.Join(dir, "blank"), make([]byte, 1<<20))
	qcow := write(t, filepath.Join(dir, "qcow2"), image(t, testDisk(), droveway.QCOW2))
	if got, err := InspectAs(t.Context(), blank, droveway.Raw); err != nil || got.Size != 1<<20 {
		t.Errorf("blank as raw: %+v, %v", got, err)
	}
	if got, err := InspectAs(t.Context(), qcow, droveway.Raw); err != nil || got.Format != droveway.Raw {
		t.Errorf("what a guest made look like qcow2: %+v, %v", got, err)
	}
	_, err := InspectAs(t.Context(), blank, droveway.QCOW2)
	wantError(t, err, droveway.Invalid, "no qcow2")
	_, err = InspectAs(t.Context(), blank, "vmdk")
	wantError(t, err, droveway.Invalid, "vmdk")
	_, err = Inspect(t.Context(), filepath.Join(dir, "none"))
	wantError(t, err, droveway.NotFound, "none")
}

// What the header's reader lets through, the tool's answer may still refuse.
func TestParseInfo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		out  string
		want Info
		kind droveway.Kind
	}{
		"good":     {`{"virtual-size": 1024, "format": "qcow2", "format-specific": {"type": "qcow2", "data": {"corrupt": false}}}`, Info{Format: droveway.QCOW2, Size: 1024}, ""},
		"backing":  {`{"virtual-size": 1024, "format": "qcow2", "backing-filename": "/etc/shadow"}`, Info{}, droveway.Invalid},
		"external": {`{"virtual-size": 1024, "format": "qcow2", "format-specific": {"data": {"data-file": "x"}}}`, Info{}, droveway.Invalid},
		"corrupt":  {`{"virtual-size": 1024, "format": "qcow2", "format-specific": {"data": {"corrupt": true}}}`, Info{}, droveway.Invalid},
		"raw":      {`{"virtual-size": 1024, "format": "raw"}`, Info{}, droveway.Invalid},
		"no size":  {`{"format": "qcow2"}`, Info{}, droveway.Invalid},
		"negative": {`{"virtual-size": -1, "format": "qcow2"}`, Info{}, droveway.Internal},
		"nothing":  {``, Info{}, droveway.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseInfo([]byte(c.out))
			if droveway.KindOf(err) != c.kind || got != c.want {
				t.Errorf("got %+v, %v; want %+v, %q", got, err, c.want, c.kind)
			}
		})
	}
}

func FuzzParseInfo(f *testing.F) {
	f.Add([]byte(`{"virtual-size": 10485760, "filename": "a", "cluster-size": 65536, "format": "qcow2", "actual-size": 200704, "format-specific": {"type": "qcow2", "data": {"compat": "1.1", "corrupt": false}}, "dirty-flag": false}`))
	f.Add([]byte(`{"virtual-size": 1e30, "format": "qcow2"}`))
	f.Add([]byte(`{"format-specific": {"data": {"data-file": "x"}}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, out []byte) {
		info, err := parseInfo(out)
		if err == nil && (info.Size <= 0 || info.Size > MaxSize || info.Format != droveway.QCOW2) {
			t.Errorf("took %+v", info)
		}
	})
}

func FuzzParseQCOW2(f *testing.F) {
	good := make([]byte, qcow2HeaderV3)
	copy(good, qcow2Magic+"\x00\x00\x00\x03")
	good[23], good[29] = 16, 1
	f.Add(good)
	f.Add(good[:qcow2HeaderV2])
	f.Add([]byte(qcow2Magic))
	f.Fuzz(func(t *testing.T, start []byte) {
		h, err := parseQCOW2(start)
		if err == nil {
			err = h.check()
		}
		if err == nil && (h.backing != 0 || h.size > MaxSize || h.incompatible&featureExternal != 0) {
			t.Errorf("took %+v", h)
		}
		if err != nil && !droveway.Is(err, droveway.Invalid) {
			t.Errorf("a file's header is no defect of ours: %v", err)
		}
		_, _ = recognise(start, "") // must not panic
	})
}
