package bootcheck

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// scripted is a hypervisor whose only guest writes what it is told to.
type scripted struct {
	console string
	state   hypervisor.State
	capture []byte
	missing error
	alone   string // whether cards can have a network of their own; empty: yes

	spec  hypervisor.Spec
	swept int
}

func (*scripted) Name() string { return "scripted" }

func (s *scripted) Probe(context.Context) (hypervisor.Capabilities, error) {
	if s.alone == "" {
		s.alone = "yes"
	}
	return hypervisor.Capabilities{"accelerator": "kvm", hypervisor.AloneCapability: s.alone}, s.missing
}

func (s *scripted) Attach(context.Context, hypervisor.Handle) (hypervisor.Instance, error) {
	return nil, droveway.Errorf(droveway.NotFound, "no instance")
}

func (s *scripted) Sweep(context.Context, string) error { s.swept++; return nil }

func (s *scripted) Start(_ context.Context, spec hypervisor.Spec) (hypervisor.Instance, error) {
	s.spec = spec
	if err := os.WriteFile(filepath.Join(spec.Dir, hypervisor.Captured("net0")), s.capture, 0o600); err != nil {
		return nil, err
	}
	g := guest{s}
	return g, os.WriteFile(g.Console(), []byte(s.console), 0o600)
}

type guest struct{ *scripted }

func (g guest) Handle() hypervisor.Handle                       { return nil }
func (g guest) PID() int                                        { return 0 }
func (g guest) State(context.Context) (hypervisor.State, error) { return g.state, nil }
func (g guest) Resume(context.Context) error                    { return nil }
func (g guest) Pause(context.Context) error                     { return nil }
func (g guest) Stop(context.Context, time.Duration) error       { return nil }
func (g guest) Changed() <-chan struct{}                        { return nil }
func (g guest) Console() string                                 { return filepath.Join(g.spec.Dir, "console.log") }
func (g guest) Close() error                                    { return nil }

// boots checks an image with a guest that does what the script says.
func boots(t *testing.T, s *scripted, within time.Duration) (droveway.BootCheck, error) {
	t.Helper()
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	must(t, os.WriteFile(image, make([]byte, 1<<20), 0o600))
	c, err := New(Config{Driver: s, Dir: filepath.Join(dir, "checks"), Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	// As if an earlier check had been killed.
	must(t, os.MkdirAll(filepath.Join(c.cfg.Dir, "web", "left"), 0o700))
	res, err := c.Run(t.Context(), Request{Name: "web", Image: image, Format: droveway.Raw, Size: 1 << 20, Within: within})
	if left, again := os.ReadDir(c.cfg.Dir); len(left) > 0 {
		t.Errorf("left: %v, %v", left, again)
	}
	if b, again := os.ReadFile(image); !bytes.Equal(b, make([]byte, 1<<20)) {
		t.Errorf("the image has changed (%v)", again)
	}
	return res, err
}

// packet is a capture file with one frame from a card.
func packet(from string, kind uint16) []byte {
	frame := make([]byte, 60)
	copy(frame[6:], from)
	binary.BigEndian.PutUint16(frame[12:], kind)
	b := make([]byte, captureHeader+packetHeader)
	binary.LittleEndian.PutUint32(b[captureHeader+8:], uint32(len(frame)))
	return append(b, frame...)
}

const guestCard = "\x52\x54\x00\xb0\x07\xc4"

// TestVerdicts has guests that end their boot in each way. SYSTEMS 5.5: one whose
// initramfs lacks virtio fails, and one with it does not.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	const firmware = "\x1bc\x1b[?7l\x1b[2JSeaBIOS (version 1.16.2)\r\nBooting from Hard Disk...\r\n"
	long := strings.Repeat("[    1.000000] something of no meaning at all, to fill the log\n", 20000)
	for name, k := range map[string]struct {
		s    scripted
		want droveway.Verdict
		sign string
	}{
		"login":           {scripted{console: firmware + "Debian GNU/Linux 12 web ttyS0\r\n\r\nweb login: "}, droveway.BootOK, "login"},
		"login in colour": {scripted{console: "\x1b[0;1;32mFedora\x1b[0m\r\nweb\x1b[1m login: \x1b[0m"}, droveway.BootOK, "login"},
		"cloud-init":      {scripted{console: "[  12.1] cloud-init[500]: Cloud-init v. 22.4.2 finished at Thu, 26 Nov 2026\n"}, droveway.BootOK, "cloud-init"},
		"systemd":         {scripted{console: "[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mmulti-user.target\x1b[0m - Multi-User System.\r\n"}, droveway.BootOK, "systemd"},
		"passphrase":      {scripted{console: "Please unlock disk sda5_crypt: "}, droveway.BootOK, "passphrase"},
		"of systemd":      {scripted{console: "Please enter passphrase for disk VBOX_HARDDISK (luks-1): (press TAB for no echo) "}, droveway.BootOK, "passphrase"},
		"after much":      {scripted{console: long + "web login: "}, droveway.BootOK, "login"},
		"the first sign":  {scripted{console: "Kernel panic - not syncing: VFS\nweb login: "}, droveway.BootFailed, "panic"},
		"no disk":         {scripted{console: firmware + "Boot failed: not a bootable disk\r\n\r\nNo bootable device.\r\n"}, droveway.BootFailed, "no-disk-bios"},
		"uefi":            {scripted{console: "BdsDxe: No bootable option or device was found.\r\n"}, droveway.BootFailed, "no-disk-uefi"},
		"initramfs-tools": {scripted{console: "ALERT!  UUID=1d8f does not exist.  Dropping to a shell!\n\nBusyBox v1.35.0\n\n(initramfs) "}, droveway.BootFailed, "initramfs-tools"},
		"dracut":          {scripted{console: "Warning: /dev/sda1 does not exist\n\nGenerating \"/run/initramfs/rdsosreport.txt\"\n"}, droveway.BootFailed, "dracut"},
		"emergency":       {scripted{console: "You are in emergency mode. After logging in, type\nGive root password for maintenance\n(or press Control-D to continue): "}, droveway.BootFailed, "emergency"},
		"grub rescue":     {scripted{console: "error: no such partition.\r\nEntering rescue mode...\r\ngrub rescue> "}, droveway.BootFailed, "grub-rescue"},
		"grub, a font":    {scripted{console: "error: file `/boot/grub/fonts/unicode.pf2' not found.\r\nerror: no such device: 1d8f.\r\nLoading Linux\r\nweb login: "}, droveway.BootOK, "login"},
		"grub, a kernel":  {scripted{console: "error: file `/boot/vmlinuz' not found.\r\nerror: you need to load the kernel first.\r\n\r\nPress any key to continue..."}, droveway.BootFailed, "grub-error"},
		"alpine":          {scripted{console: "Mounting root: failed.\nMounting root failed.\ninitramfs emergency recovery shell launched\n"}, droveway.BootFailed, "mkinitfs"},
		"ended":           {scripted{console: "reboot: Power down\n", state: hypervisor.Gone}, droveway.BootFailed, "ended"},
		"ended well":      {scripted{console: "web login: ", state: hypervisor.Gone}, droveway.BootOK, "login"},
		"silent":          {scripted{console: firmware}, droveway.BootUnknown, ""},
		"no sign":         {scripted{console: firmware + "GRUB loading..\r\nloading\r\n"}, droveway.BootUnknown, ""},
		"on the network":  {scripted{console: firmware, capture: packet(guestCard, typeARP)}, droveway.BootOK, "network"},
		"others there":    {scripted{console: firmware, capture: packet("\x52\x55\x0a\x00\x02\x02", typeARP)}, droveway.BootUnknown, ""},
		"kernel's IPv6":   {scripted{console: firmware, capture: packet(guestCard, 0x86dd)}, droveway.BootUnknown, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if k.s.state == "" {
				k.s.state = hypervisor.Running
			}
			res, err := boots(t, &k.s, time.Millisecond)
			if err != nil || res.Verdict != k.want || res.Sign != k.sign || res.Reason == "" {
				t.Errorf("%+v, %v", res, err)
			}
			last := strings.TrimSpace(k.s.console[strings.LastIndex(strings.TrimSpace(k.s.console), "\n")+1:])
			if got := res.Console; !strings.HasSuffix(got, strings.TrimSpace(string(plain([]byte(last))))) || len(got) > tailBytes || strings.Contains(got, "\x1b") {
				t.Errorf("the last of the console: %q", got)
			}
			if !k.s.spec.Bound {
				t.Error("the guest runs on if the server is killed")
			}
			if k.s.swept < 2 { // what was there before, and the guest itself
				t.Errorf("swept %d times", k.s.swept)
			}
		})
	}
}

// TestCannotTell has errors where nothing can be found out, and not a verdict.
func TestCannotTell(t *testing.T) {
	t.Parallel()
	res, err := boots(t, &scripted{console: "GRUB", state: hypervisor.Stuck}, time.Minute)
	if !droveway.Is(err, droveway.Unavailable) || res.Verdict != "" {
		t.Errorf("no room: %+v, %v", res, err)
	}
	s := &scripted{missing: droveway.Missing("qemu", "qemu-system-x86_64 is not installed")}
	dir := t.TempDir()
	c, err := New(Config{Driver: s, Dir: filepath.Join(dir, "checks"), Images: dir, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	if err := c.Ready(t.Context(), droveway.BIOS); !droveway.Is(err, droveway.Unsupported) || !strings.Contains(err.Error(), "qemu-system-x86") {
		t.Errorf("without QEMU: %v", err)
	}
	s.missing, s.alone = nil, "no: no such backend"
	if err := c.Ready(t.Context(), droveway.BIOS); !droveway.Is(err, droveway.Unsupported) || !strings.Contains(err.Error(), "no such backend") {
		t.Errorf("without a network for it: %v", err)
	}
	s.alone = "yes"
	if err := c.Ready(t.Context(), droveway.UEFI); !droveway.Is(err, droveway.Unsupported) {
		t.Errorf("without firmware: %v", err)
	}
	if err := c.Ready(t.Context(), droveway.BIOS); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if all, _ := os.ReadDir(dir); len(left) > 0 || err != nil || len(all) != 1 { // the directory of checks
		t.Errorf("left: %v, %v, %v", left, all, err)
	}
}

// TestCancelled leaves nothing of a check that nobody waits for any more.
func TestCancelled(t *testing.T) {
	t.Parallel()
	s := &scripted{console: "GRUB", state: hypervisor.Running}
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	must(t, os.WriteFile(image, make([]byte, 1<<20), 0o600))
	c, err := New(Config{Driver: s, Dir: filepath.Join(dir, "checks"), Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	res, err := c.Run(ctx, Request{Name: "web", Image: image, Format: droveway.Raw, Size: 1 << 20})
	if err == nil || res.Verdict != "" {
		t.Errorf("%+v, %v", res, err)
	}
	if left, err := os.ReadDir(c.cfg.Dir); len(left) > 0 || s.swept < 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestSigns refuses data that would decide nothing.
// TestSweep discards what a server that was killed in the midst of checks has left.
func TestSweep(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "checks")
	s := &scripted{}
	c, err := New(Config{Driver: s, Dir: dir, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	c.Sweep(t.Context()) // of a server that never made any
	for _, name := range []string{"a", "web-1", ".others"} {
		must(t, os.MkdirAll(filepath.Join(dir, name, "more"), 0o700))
	}
	c.Sweep(t.Context())
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != ".others" || s.swept != 2 {
		t.Errorf("left %v (%v), %d guests swept", left, err, s.swept)
	}
}

func TestSigns(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"- {name: a, verdict: maybe, pattern: x, says: x}", "- {name: a, verdict: ok, pattern: '(', says: x}", "- {verdict: ok, pattern: x, says: x}", "name: a"} {
		if _, err := loadSigns([]byte(data)); !droveway.Is(err, droveway.Internal) {
			t.Errorf("%s: %v", data, err)
		}
	}
}

// FuzzConsole looks at what a hostile guest may write: it comes out as text that is
// short, valid and harmless to a terminal.
func FuzzConsole(f *testing.F) {
	signs, err := knownSigns()
	must(f, err)
	f.Add([]byte("web login: "), []byte("\x1b[31mKernel panic - not syncing\x1b[0m"))
	f.Add([]byte("\x1b]0;title\x07\xff\xfe"), []byte("\x1b[2J\x1b[1;1H\x9b31m"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		c := console{signs: signs}
		c.take(a)
		c.take(b)
		c.silent()
		got := c.tail()
		if len(got) > tailBytes || !utf8.ValidString(got) || strings.ContainsAny(got, "\x1b\x00\x07\r\u009b") {
			t.Errorf("%q", got)
		}
	})
}

// FuzzCapture reads capture files that are none.
func FuzzCapture(f *testing.F) {
	f.Add(packet(guestCard, typeARP))
	f.Fuzz(func(_ *testing.T, b []byte) { spoke(bytes.NewReader(b), mac) })
}
