package appliance

import (
	"fmt"
	"strings"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
	"github.com/droveway/droveway/internal/image/luks"
)

// crypt is the target of the device mapper that decrypts.
const crypt = "crypt"

// unlock opens an encrypted volume by the keys of the request.
func (d *devices) unlock(name string) (luks.Volume, error) {
	if v, ok := d.opened[name]; ok {
		return v, nil
	}
	r, size, err := d.read(name)
	if err != nil {
		return luks.Volume{}, err
	}
	c, err := luks.Open(r, size)
	if err != nil {
		return luks.Volume{}, err
	}
	v, err := d.openBy(name, c)
	if err == nil {
		if d.opened == nil {
			d.opened = map[string]luks.Volume{}
		}
		d.opened[name] = v
	}
	return v, err
}

func (d *devices) openBy(name string, c *luks.Container) (luks.Volume, error) {
	err := droveway.Errorf(droveway.Unsupported, "%s is encrypted: give its key with --luks-key FILE", name)
	for i := range d.keys {
		k := &d.keys[i]
		if !k.For(c) {
			continue
		}
		v, failed := k.Open(d.ctx, c)
		if failed == nil {
			return v, nil
		}
		err = droveway.Errorf(droveway.KindOf(failed), "%s: key %s: %w", name, k.Name, failed)
	}
	return luks.Volume{}, err
}

// openName is what an unlocked volume is called: as in crypttab, or as systemd calls
// those that crypttab does not have.
func (d *devices) openName(outer string) string {
	for _, m := range d.report.System.Crypttab {
		if m.Volume == outer && m.Name != "" && !strings.ContainsAny(m.Name, "/ ") {
			return m.Name
		}
	}
	return "luks-" + d.volume(outer).UUID
}

// mapOpen maps what is inside an encrypted volume. The table has its key, which is
// nowhere but in the memory of this process and of the appliance.
func (d *devices) mapOpen(name string) (wire.Map, error) {
	outer, _ := d.container(name)
	v, err := d.unlock(outer)
	if err != nil {
		return wire.Map{}, err
	}
	device, err := d.device(outer)
	if err != nil {
		return wire.Map{}, err
	}
	m := v.Mapping
	t := wire.Target{Size: v.Size / sector, Kind: crypt, Params: fmt.Sprintf("%s %x %d %s %d", m.Cipher, m.Key, m.Tweak, device, m.Offset/sector)}
	if m.Sector != sector {
		t.Params += fmt.Sprintf(" 1 sector_size:%d", m.Sector)
	}
	outside := d.volume(outer)
	id := strings.Join([]string{"CRYPT", strings.ToUpper(outside.Kind), strings.ReplaceAll(outside.UUID, "-", ""), d.openName(outer)}, "-")
	return wire.Map{UUID: id, Table: []wire.Target{t}}, nil
}

// forCipher are the modules that the kernel's dm-crypt needs for a cipher as its table
// names it. It would ask for them by itself, but nothing in the appliance answers.
func forCipher(table string) []string {
	cipher, _, _ := strings.Cut(table, " ")
	wanted := []string{"dm_crypt", "aes_generic", "aesni_intel"}
	_, mode, _ := strings.Cut(cipher, "-")
	mode, iv, _ := strings.Cut(mode, "-")
	switch mode {
	case "xts":
		wanted = append(wanted, "ecb", "xts")
	case "cbc":
		wanted = append(wanted, "cbc")
	}
	if hash, ok := strings.CutPrefix(iv, "essiv:"); ok {
		wanted = append(wanted, strings.ReplaceAll(hash, "sha384", "sha512")+"_generic", "essiv")
	}
	return wanted
}
