package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

// flash is UEFI firmware: a program, which is only read, and variables, of which each
// machine has a copy of its own.
//
// Both are memory of the guest to QEMU: they move with it, and the target writes the
// variables to its own file once the guest runs there (pflash_post_load in
// hw/block/pflash_cfi01.c).
type flash struct {
	code, template string
}

// firmwareFolders are where packages say which firmware they have, the first the
// strongest: docs/interop/firmware.json of QEMU.
func firmwareFolders() []string {
	return []string{"/etc/qemu/firmware", "/usr/local/share/qemu/firmware", "/usr/share/qemu/firmware"}
}

const (
	varsName     = "uefi-vars.fd"
	maxDescribed = 64 << 10 // bytes of a description
	maxFlash     = 8 << 20  // of both parts: what the machine has room for below the firmware's end
	flashWithin  = 20 * time.Second
)

// described is what a description of firmware says, as far as it matters here.
type described struct {
	Interfaces []string `json:"interface-types"`
	Mapping    struct {
		Device     string
		Mode       string
		Executable file `json:"executable"`
		Template   file `json:"nvram-template"`
	}
	Targets []struct {
		Architecture string
		Machines     []string
	}
	Features []string
}

type file struct{ Filename, Format string }

// fits reports whether guests here can have it: UEFI without secure boot, which
// needs a machine that guards its flash.
func (d *described) fits() bool {
	m := &d.Mapping
	if !slices.Contains(d.Interfaces, "uefi") || m.Device != "flash" || m.Mode != "" && m.Mode != "split" {
		return false
	}
	if m.Executable.Format != "raw" || m.Template.Format != "raw" {
		return false
	}
	if slices.Contains(d.Features, "requires-smm") || slices.Contains(d.Features, "enrolled-keys") {
		return false
	}
	for _, t := range d.Targets {
		for _, pattern := range t.Machines {
			if ok, err := filepath.Match(pattern, machineType); err == nil && ok && t.Architecture == "x86_64" {
				return true
			}
		}
	}
	return false
}

// describedFirmware reads the descriptions. Their names order them; one hides those
// of the same name in later folders.
func describedFirmware(folders []string) []described {
	paths := map[string]string{}
	for _, folder := range slices.Backward(folders) {
		found, _ := filepath.Glob(filepath.Join(folder, "*.json")) // the pattern is a good one
		for _, p := range found {
			paths[filepath.Base(p)] = p
		}
	}
	var all []described
	var names []string
	for n := range paths {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if d, err := describe(paths[n]); err == nil {
			all = append(all, d)
		}
	}
	return all
}

func describe(path string) (d described, err error) {
	f, err := os.Open(path)
	if err != nil {
		return d, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxDescribed))
	if err != nil {
		return d, err
	}
	return d, json.Unmarshal(b, &d)
}

// findUEFI finds out whether guests can have UEFI, by trying.
func (d *Driver) findUEFI(ctx context.Context, p *platform) {
	folders := d.cfg.Firmware
	if len(folders) == 0 {
		folders = firmwareFolders()
	}
	p.found[droveway.UEFICapability] = "no: there is no UEFI firmware in " + strings.Join(folders, ", ") + ": install the package ovmf"
	for _, k := range describedFirmware(folders) {
		if !k.fits() {
			continue
		}
		f := &flash{k.Mapping.Executable.Filename, k.Mapping.Template.Filename}
		err := d.tryFlash(ctx, p, f)
		if err == nil {
			p.uefi, p.found[droveway.UEFICapability] = f, "yes"
			return
		}
		p.found[droveway.UEFICapability] = "no: " + err.Error()
	}
}

// fits refuses firmware that is larger than what it is made for.
func (f *flash) fits() error {
	code, vars := size(f.code), size(f.template)
	switch {
	case code == 0 || vars == 0:
		return droveway.Errorf(droveway.Unsupported, "UEFI firmware %s and %s: not there", f.code, f.template)
	case code+vars > maxFlash:
		return droveway.Errorf(droveway.Unsupported, "UEFI firmware %s and %s: larger than %d MiB", f.code, f.template, maxFlash>>20)
	case vars > hypervisor.MaxVars:
		return droveway.Errorf(droveway.Unsupported, "UEFI variables %s: %d bytes, more than the %d that can go along when a machine changes its host", f.template, vars, hypervisor.MaxVars)
	}
	return nil
}

// tryFlash lets QEMU make a machine with the firmware, which does not run.
func (d *Driver) tryFlash(ctx context.Context, p *platform, f *flash) error {
	if err := f.fits(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, flashWithin)
	defer cancel()
	a := []string{
		"-machine", machineType + ",accel=" + p.accel + flashes(droveway.UEFI), "-cpu", p.cpu, "-m", "32", "-nodefaults", "-no-user-config",
		"-display", "none", "-S", "-qmp", "stdio",
	}
	cmd := exec.CommandContext(ctx, d.cfg.QEMU, append(a, f.nodes(f.template, true)...)...)
	cmd.Stdin = strings.NewReader(`{"execute":"qmp_capabilities"}{"execute":"quit"}`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.user.credential(), Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	var words strings.Builder
	cmd.Stderr = &words
	if err := cmd.Run(); err != nil {
		return refusal(words.String(), droveway.Errorf(droveway.Internal, "try UEFI firmware: %w", err))
	}
	return nil
}

// Names of block nodes of the firmware.
const (
	codeNode = "firmware-code"
	varsNode = "firmware-vars"
)

// flashes is the part of -machine that says what the firmware is.
func flashes(f droveway.Firmware) string {
	if f != droveway.UEFI {
		return ""
	}
	return ",pflash0=" + codeNode + ",pflash1=" + varsNode
}

func (f *flash) nodes(vars string, readOnly bool) []string {
	node := func(name, path string, ro bool) string {
		return object{
			"driver": "raw", "node-name": name, "read-only": ro,
			"file": object{"driver": "file", "filename": path, "read-only": ro},
		}.String()
	}
	return []string{"-blockdev", node(codeNode, f.code, true), "-blockdev", node(varsNode, vars, readOnly)}
}

func (f *flash) arguments(spec hypervisor.Spec) []string {
	if spec.Firmware != droveway.UEFI {
		return nil
	}
	return f.nodes(varsOf(spec), false)
}

func varsOf(spec hypervisor.Spec) string {
	if spec.Vars != "" {
		return spec.Vars
	}
	return filepath.Join(spec.Dir, varsName)
}

// variables makes a machine's own variables, if it has none yet. Those of another
// size are of firmware that is not here: they would be taken for damaged.
func (f *flash) variables(path string) (made bool, err error) {
	have, err := os.Stat(path)
	if err == nil && have.Size() == 0 { // as a loss of power leaves a file that was new
		err = os.ErrNotExist
	}
	if err == nil && have.Size() != size(f.template) {
		return false, droveway.Errorf(droveway.Conflict, "the UEFI variables in %s have %d bytes, those of this host's firmware %d: the machine was made with other firmware", path, have.Size(), size(f.template))
	}
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	b, err := os.ReadFile(f.template)
	if err != nil {
		return false, droveway.Errorf(droveway.Unavailable, "UEFI variables to begin with: %w", err)
	}
	if err := errors.Join(writeFile(path, b), flush(path)); err != nil {
		return false, fmt.Errorf("UEFI variables: %w", err)
	}
	return true, nil
}
