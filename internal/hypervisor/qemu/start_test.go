package qemu

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/qmp"
)

func testSpec(t *testing.T) hypervisor.Spec {
	t.Helper()
	return hypervisor.Spec{
		Machine: "web-1", UUID: "6f1c9a52-8a10-4c0d-9d3c-6b0f3b0a7e11", Dir: t.TempDir(), CPUs: 2, MemoryMiB: 512, Seed: "/a,b/seed.iso",
		Disks: []hypervisor.Disk{
			{Name: "root", Path: "/v/root.qcow2", Format: droveway.QCOW2, Size: 10 << 30},
			{Name: "data", Path: "/v/data.raw", Format: droveway.Raw, Size: 1 << 30},
		},
		NICs: []hypervisor.NIC{{ID: "net0", MAC: "52:54:00:00:00:01", TAP: os.Stdin}},
	}
}

// follows reports whether one argument comes right after another.
func follows(args []string, option, value string) bool {
	for n := 1; n < len(args); n++ {
		if args[n-1] == option && strings.Contains(args[n], value) {
			return true
		}
	}
	return false
}

func TestArguments(t *testing.T) {
	t.Parallel()
	p := &platform{accel: tcg, cpu: "max"}
	args := arguments(p, testSpec(t), 524296)
	for option, values := range map[string][]string{
		"-machine": {"pc-q35-7.2,accel=tcg"}, "-cpu": {"max"}, "-smp": {"2"}, "-m": {"524296k"}, "-uuid": {"6f1c9a52"},
		"-sandbox": {"on,"}, "-S": {"-chardev"}, "-netdev": {"tap,id=nic0,fd=4"},
		"-blockdev": {
			`"filename":"/v/root.qcow2"`, `"node-name":"d0-local"`, `"node-name":"d1-local"`,
			`"filename":"/a,b/seed.iso","read-only":true`,
		},
		"-device": {
			`"addr":"0x4","bootindex":0,"bus":"pcie.0","drive":"d0-local","driver":"virtio-blk-pci","id":"disk0","rerror":"stop","serial":"root","werror":"stop"`,
			`"addr":"0x5"`, `"drive":"seed"`, `"mac":"52:54:00:00:00:01"`,
		},
	} {
		for _, v := range values {
			if !follows(args, option, v) {
				t.Errorf("no %s %s in %q", option, v, args)
			}
		}
	}
	if slices.Contains(args, "-incoming") {
		t.Error("it waits for memory")
	}
}

// A CPU is what was asked for or nothing, so that a guest finds the same after each
// start and each move.
func TestCPUOfAGuest(t *testing.T) {
	t.Parallel()
	p := &platform{accel: kvm, cpu: "host", hidden: []string{"rtm", "avx512f"}}
	for cpu, want := range map[droveway.CPU]string{
		"":                  "host,rtm=off,avx512f=off",
		"host":              "host,rtm=off,avx512f=off",
		"x86-64-v1+aes":     "qemu64,cmov=on,cx8=on,fpu=on,fxsr=on,mmx=on,sse=on,sse2=on,aes=on,enforce",
		"Haswell-noTSX+aes": "Haswell-noTSX,aes=on,enforce",
	} {
		if got := p.cpuArgument(cpu); got != want {
			t.Errorf("%q: -cpu %s, want %s", cpu, got, want)
		}
	}
	p.found = hypervisor.Capabilities{"cpu.aes": "yes", "cpu-model.Haswell": "no: lacks avx2", "cpu-model.Nehalem": "yes"}
	for cpu, feature := range map[droveway.CPU]string{"Nehalem+aes": "", "host": "", "Nehalem+avx2": "cpu.avx2", "Haswell": "cpu-model.Haswell"} {
		err := p.gives(cpu)
		e, _ := errors.AsType[*droveway.Error](err)
		if feature == "" && err != nil || feature != "" && (e == nil || e.Feature != feature) {
			t.Errorf("%q: %v, want %q to be missing", cpu, err, feature)
		}
	}
}

// An instance that waits opens no disk: another one may have them.
func TestWaitingInstanceOpensNoDisk(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]hypervisor.Spec{"incoming": {Incoming: true}, "standing": {Standing: true}} {
		spec := testSpec(t)
		spec.Incoming, spec.Standing = s.Incoming, s.Standing
		args := arguments(&platform{accel: kvm, cpu: "host"}, spec, 1)
		if strings.Contains(strings.Join(args, " "), "/v/") || !follows(args, "-blockdev", `"driver":"null-co","node-name":"d0-blank"`) {
			t.Errorf("%s: %q", name, args)
		}
		if follows(args, "-incoming", "defer") != s.Incoming {
			t.Errorf("%s: %q", name, args)
		}
	}
}

func TestInvalidSpecs(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*hypervisor.Spec){
		"no CPU":          func(s *hypervisor.Spec) { s.CPUs = 0 },
		"no memory":       func(s *hypervisor.Spec) { s.MemoryMiB = 0 },
		"relative dir":    func(s *hypervisor.Spec) { s.Dir = "here" },
		"name twice":      func(s *hypervisor.Spec) { s.Disks[1].Name = "root" },
		"strange name":    func(s *hypervisor.Spec) { s.Disks[1].Name = "../x" },
		"relative path":   func(s *hypervisor.Spec) { s.Disks[0].Path = "x" },
		"no size":         func(s *hypervisor.Spec) { s.Disks[0].Size = 0 },
		"strange format":  func(s *hypervisor.Spec) { s.Disks[0].Format = "vmdk" },
		"card without":    func(s *hypervisor.Spec) { s.NICs[0].TAP = nil },
		"too many disks":  func(s *hypervisor.Spec) { s.Disks = make([]hypervisor.Disk, maxDisks+1) },
		"too many cards":  func(s *hypervisor.Spec) { s.NICs = make([]hypervisor.NIC, maxNICs+1) },
		"nothing changed": func(*hypervisor.Spec) {},
	} {
		s := testSpec(t)
		change(&s)
		if err := valid(s); droveway.Is(err, droveway.Invalid) == (name == "nothing changed") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := testSpec(t)
	s.Dir = filepath.Join(s.Dir, "none")
	if err := valid(s); !droveway.Is(err, droveway.NotFound) {
		t.Errorf("no directory: %v", err)
	}
}

// Under TCG this QEMU loses pages if the size of memory is a multiple of
// 256 KiB.
func TestMemoryAvoidsTheTrap(t *testing.T) {
	t.Parallel()
	var old, young qmp.Version
	old.QEMU.Major, old.QEMU.Minor, young.QEMU.Major = 7, 2, 9
	d := New(Config{})
	for want, p := range map[int64]*platform{
		1<<18 + 8: {accel: tcg, version: old},
		1 << 18:   {accel: kvm, version: old},
	} {
		if got := d.ramFor(p, 256); got != want {
			t.Errorf("%s: %d KiB, want %d", p.accel, got, want)
		}
	}
	if got := d.ramFor(&platform{accel: tcg, version: young}, 256); got != 1<<18 {
		t.Errorf("QEMU 9: %d KiB", got)
	}
}

func TestRefusalHasAKind(t *testing.T) {
	t.Parallel()
	for words, want := range map[string]droveway.Kind{
		"qemu: -x: invalid option":                           droveway.Invalid,
		`Failed to get "write" lock; Is another process …`:   droveway.Conflict,
		"Could not open '/x': Permission denied":             droveway.Permission,
		"Could not open '/x': No such file or directory":     droveway.NotFound,
		"cannot set up guest memory: Cannot allocate memory": droveway.Unavailable,
	} {
		if err := refusal(words+"\n", errors.New("x")); !droveway.Is(err, want) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v is %s", words, err, droveway.KindOf(err))
		}
	}
	cause := droveway.Errorf(droveway.NotFound, "gone")
	if err := refusal("\n", cause); !errors.Is(err, cause) || !droveway.Is(err, droveway.Unavailable) {
		t.Errorf("no words: %v is %s", err, droveway.KindOf(err))
	}
}

// A storage daemon that is killed while it starts is no reason to call a move
// off: the error is of the kind that is tried again.
func TestSecondaryKilledWhileItStarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	killed := filepath.Join(dir, "daemon")
	if err := os.WriteFile(killed, []byte("#!/bin/sh\nkill -9 $$\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	d := New(Config{StorageDaemon: killed})
	_, err := d.Secondary(t.Context(), hypervisor.SecondarySpec{Machine: "web", Dir: dir, Listen: "127.0.0.1:0"})
	if !droveway.Is(err, droveway.Unavailable) || !strings.Contains(err.Error(), "killed while it started") {
		t.Errorf("%v is %s, want unavailable", err, droveway.KindOf(err))
	}
	left, err := filepath.Glob(filepath.Join(dir, "secondary*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestTrialOfAnAccelerator(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]droveway.Kind{
		"exit 33":                         "",
		"exit 0":                          droveway.Unavailable,
		"echo no such device >&2; exit 1": droveway.Invalid,
		"exec sleep 60":                   droveway.Unavailable, // as a KVM does that hangs
	} {
		within := 10 * time.Second
		if strings.Contains(script, "sleep") {
			within = 50 * time.Millisecond
		}
		ctx, cancel := contextWithin(t, within)
		err := trialResult(ctx, exec.CommandContext(ctx, "/bin/sh", "-c", script), within)
		cancel()
		if droveway.KindOf(err) != want {
			t.Errorf("%s: %v is %q, want %q", script, err, droveway.KindOf(err), want)
		}
	}
	err := trialResult(t.Context(), exec.Command("/no/such/program"), time.Second)
	if !droveway.Is(err, droveway.Unsupported) {
		t.Errorf("no QEMU: %v", err)
	}
}

func TestStartWithoutQEMU(t *testing.T) {
	t.Parallel()
	d := New(Config{QEMU: "/no/such/qemu"})
	if _, err := d.Start(t.Context(), testSpec(t)); !droveway.Is(err, droveway.Unsupported) {
		t.Errorf("no QEMU: %v", err)
	}
	d = New(Config{User: "no-such-user"})
	if _, err := d.Probe(t.Context()); !droveway.Is(err, droveway.Invalid) {
		t.Errorf("no user: %v", err)
	}
}
