package ova

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"strings"
	"testing"

	"github.com/droveway/droveway"
)

// TestOddArchives reads archives that are made otherwise than exporters do, and refuses
// clearly what cannot be read. SYSTEMS 5.8
func TestOddArchives(t *testing.T) {
	t.Parallel()
	ovf := func(href, more string) string {
		return `<Envelope><References><File id="f" href="` + href + `" ` + more + `/></References><DiskSection><Disk diskId="d" fileRef="f"/></DiskSection></Envelope>`
	}
	for name, k := range map[string]struct {
		archive []byte
		disk    string // that it has
		fails   string
	}{
		"a folder that was packed":    {pack(t, "./m.ovf", ovf("d.vmdk", ""), "./d.vmdk", "disk", "./m.mf", fmt.Sprintf("SHA256(d.vmdk)= %x\n", sha256.Sum256([]byte("disk")))), "d.vmdk", ""},
		"a reference with a dot":      {pack(t, "m.ovf", ovf("./d.vmdk", ""), "d.vmdk", "disk"), "d.vmdk", ""},
		"a space in a reference":      {pack(t, "m.ovf", ovf("my%20disk.vmdk", ""), "my disk.vmdk", "disk"), "my disk.vmdk", ""},
		"a space as it is":            {pack(t, "m.ovf", ovf("my disk.vmdk", ""), "my disk.vmdk", "disk"), "my disk.vmdk", ""},
		"a percent sign in a name":    {pack(t, "m.ovf", ovf("a%20b.vmdk", ""), "a%20b.vmdk", "disk"), "a%20b.vmdk", ""},
		"packed by a Mac":             {pack(t, "._m.ovf", "x", "m.ovf", ovf("d.vmdk", ""), "._d.vmdk", "x", "d.vmdk", "disk"), "d.vmdk", ""},
		"the description is last":     {pack(t, "d.vmdk", "disk", "m.ovf", ovf("d.vmdk", "")), "d.vmdk", ""},
		"a manifest of OpenSSL 3":     {pack(t, "m.ovf", ovf("d.vmdk", ""), "d.vmdk", "disk", "m.mf", fmt.Sprintf("SHA2-512(d.vmdk)= %x\n", sha512.Sum512([]byte("disk")))), "d.vmdk", ""},
		"another, and a wrong one":    {pack(t, "m.ovf", ovf("d.vmdk", ""), "d.vmdk", "disk", "m.mf", fmt.Sprintf("SHA2-256(d.vmdk)= %x\n", sha256.Sum256([]byte("dusk")))), "", "the archive is damaged"},
		"compressed by gzip":          {pack(t, "m.ovf", ovf("d.vmdk.gz", `compression="gzip"`), "d.vmdk.gz", "disk"), "", "compressed by gzip: unpack it"},
		"in chunks":                   {pack(t, "m.ovf", ovf("d.vmdk", `chunkSize="2"`), "d.vmdk.000000000", "di", "d.vmdk.000000001", "sk"), "", "cut into chunks"},
		"it climbs, and not by a dot": {pack(t, "m.ovf", ovf("%2e%2e/d.vmdk", ""), "d.vmdk", "disk"), "", "which is not in the archive"},
		"one name twice":              {pack(t, "m.ovf", ovf("d.vmdk", ""), "d.vmdk", "disk", "./d.vmdk", "dusk"), "", "two members"},
	} {
		a, err := Read(strings.NewReader(string(k.archive)), int64(len(k.archive)))
		if err == nil {
			err = a.Verify(t.Context(), nil)
		}
		if k.fails != "" {
			if err == nil || !strings.Contains(err.Error(), k.fails) || droveway.Is(err, droveway.Internal) {
				t.Errorf("%s: %v, want that %s", name, err, k.fails)
			}
			continue
		}
		if err != nil || len(a.Disks) != 1 || a.Disks[0].Name != k.disk {
			t.Errorf("%s: %v, %+v", name, err, a)
		}
	}
}
