package qemu

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// description is firmware as a package describes it.
func description(code, machines, features string) string {
	return `{"interface-types": ["uefi"], "mapping": {"device": "flash", "executable": {"filename": "` + code + `", "format": "raw"},
"nvram-template": {"filename": "/vars", "format": "raw"}}, "targets": [{"architecture": "x86_64", "machines": ["` + machines + `"]}], "features": [` + features + `]}`
}

// TestDescribedFirmware takes the first firmware that fits, and what an
// administrator has put in front of that of the packages.
func TestDescribedFirmware(t *testing.T) {
	t.Parallel()
	own, packages := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		packages + "/40-secure.json":  description("/secure", "pc-q35-*", `"requires-smm", "secure-boot"`),
		packages + "/45-other.json":   description("/other", "virt-*", ""),
		packages + "/50-damaged.json": "{",
		packages + "/55-bios.json":    strings.Replace(description("/bios", "pc-q35-*", ""), "uefi", "bios", 1),
		packages + "/60-plain.json":   description("/plain", "pc-q35-*", `"acpi-s3"`),
		packages + "/70-later.json":   description("/later", "pc-q35-*", ""),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	chosen := func() string {
		for _, d := range describedFirmware([]string{own, packages}) {
			if d.fits() {
				return d.Mapping.Executable.Filename
			}
		}
		return ""
	}
	if got := chosen(); got != "/plain" {
		t.Errorf("chosen: %q", got)
	}
	if err := os.WriteFile(own+"/60-plain.json", []byte(description("/own", "pc-q35-*", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := chosen(); got != "/own" {
		t.Errorf("chosen instead: %q", got)
	}
}

// FuzzDescription reads descriptions that are none.
func FuzzDescription(f *testing.F) {
	f.Add([]byte(description("/plain", "pc-q35-*", "")))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "d.json")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if d, err := describe(path); err == nil {
			d.fits()
		}
	})
}

// TestVariables gives each machine its own variables, once.
func TestVariables(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &flash{template: filepath.Join(dir, "template")}
	if err := os.WriteFile(f.template, []byte("empty"), 0o600); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(dir, "mine")
	if made, err := f.variables(mine); !made || err != nil {
		t.Errorf("%t, %v", made, err)
	}
	if err := os.WriteFile(mine, []byte("entry"), 0o600); err != nil {
		t.Fatal(err)
	}
	made, err := f.variables(mine)
	if b, _ := os.ReadFile(mine); made || err != nil || string(b) != "entry" {
		t.Errorf("the second time: %t, %v, %q", made, err, b)
	}
	if err := os.WriteFile(f.template, []byte("of another version"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.variables(mine); !droveway.Is(err, droveway.Conflict) {
		t.Errorf("with other firmware: %v", err)
	}
}

// TestFirmwareArguments has the flash for UEFI alone.
func TestFirmwareArguments(t *testing.T) {
	t.Parallel()
	p := &platform{accel: tcg, cpu: "max", uefi: &flash{"/code", "/vars"}}
	for f, want := range map[droveway.Firmware]bool{"": false, droveway.BIOS: false, droveway.UEFI: true} {
		a := strings.Join(arguments(p, hypervisor.Spec{Dir: "/d", Firmware: f}, 1024), " ")
		if got := strings.Contains(a, "pflash0=") && strings.Contains(a, `"filename":"/d/uefi-vars.fd"`); got != want {
			t.Errorf("%q: %s", f, a)
		}
	}
}

// TestFirmwareFits takes no firmware whose variables could not go along with a machine,
// or that the machine has no room for.
func TestFirmwareFits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code, vars int64
		says       string
	}{
		"OVMF of 2 MiB":  {1920 << 10, 128 << 10, ""},
		"OVMF of 4 MiB":  {3568 << 10, 528 << 10, ""},
		"the most":       {maxFlash - hypervisor.MaxVars, hypervisor.MaxVars, ""},
		"many variables": {1 << 20, hypervisor.MaxVars + 1, "more than the"},
		"larger":         {maxFlash, 1, "larger than 8 MiB"},
		"no code":        {0, 1, "not there"},
		"no variables":   {1, 0, "not there"},
	} {
		f := &flash{code: filepath.Join(t.TempDir(), "code"), template: filepath.Join(t.TempDir(), "vars")}
		for path, n := range map[string]int64{f.code: c.code, f.template: c.vars} {
			if n == 0 {
				continue
			}
			if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, n)); err != nil {
				t.Fatal(err)
			}
		}
		err := f.fits()
		if c.says == "" && err != nil || c.says != "" && (!droveway.Is(err, droveway.Unsupported) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
