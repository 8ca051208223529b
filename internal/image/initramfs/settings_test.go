package initramfs

import (
	"bytes"
	"testing"
)

// file is one of an archive.
type file struct{ name, text string }

// TestMost believes what initramfs-tools was told only when all of it has been read.
func TestMost(t *testing.T) {
	t.Parallel()
	module := file{"usr/lib/modules/1/virtio_blk.ko", "ELF"}
	most := file{"conf/initramfs.conf", "# MODULES=dep\n MODULES='most' # of any machine\nBUSYBOX=auto\n"}
	for name, v := range map[string]struct {
		files []file
		want  bool
	}{
		"most":                {[]file{{"conf", ""}, most, module}, true},
		"below ./":            {[]file{{".", ""}, {"./conf/initramfs.conf", most.text}, {"./" + module.name, "ELF"}}, true},
		"not yet read":        {[]file{module, most}, false},
		"in no order":         {[]file{{"init", ""}, most, module}, false},
		"dep":                 {[]file{{most.name, "MODULES=dep\n"}, module}, false},
		"nothing said":        {[]file{{most.name, "BUSYBOX=auto\n"}, module}, false},
		"no settings":         {[]file{{"etc/fstab", ""}, module}, false},
		"conf.d says dep":     {[]file{{"conf/conf.d/driver-policy", "MODULES=dep\n"}, most, module}, false},
		"conf.d says most":    {[]file{{"conf/conf.d/a", "MODULES=dep\n"}, {"conf/conf.d/b", "MODULES=most"}, {most.name, "MODULES=dep"}, module}, true},
		"another's, above it": {[]file{{"x/" + most.name, most.text}, {"y", ""}}, false},
	} {
		got, err := Read(bytes.NewReader(archiveOf(v.files...)), nil)
		if err != nil || got.Most != v.want || got.Files != len(v.files) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// TestModulesBeforeSettings reads archives in a row, the modules in the first one: what
// is not among them then is known, whatever the settings say.
func TestModulesBeforeSettings(t *testing.T) {
	t.Parallel()
	modules := archiveOf(file{"usr/lib/modules/1/virtio_blk.ko", "ELF"})
	settings := archiveOf(file{mainSettings, "MODULES=most\n"}, file{"init", ""})
	if got, err := Read(bytes.NewReader(append(modules, settings...)), nil); err != nil || got.Most || got.Kind != "initramfs-tools" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := Read(bytes.NewReader(append(settings, modules...)), nil); err != nil || !got.Most {
		t.Errorf("the other way round: %+v, %v", got, err)
	}
}

// TestSettingsCut reads settings that end too early, or are too long to be any.
func TestSettingsCut(t *testing.T) {
	t.Parallel()
	b := archiveOf(file{mainSettings, "MODULES=most\n"})
	if _, err := Read(bytes.NewReader(b[:len(b)-130]), nil); err == nil {
		t.Error("an archive that ends within its settings is read as whole")
	}
	long := file{mainSettings, "MODULES=most\n" + string(make([]byte, maxSettings))}
	if got, err := Read(bytes.NewReader(archiveOf(long, file{"init", ""})), nil); err != nil || got.Most || got.Files != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}
