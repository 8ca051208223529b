package procfs

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 469115 2 00000000f3e3094e 100 0 0 10 0
   1: 0B00010A:C350 020071CB:01BB 01 00000000:00000000 02:00000000 00000000  1000        0 77 1 0000000000000000 20 4 30 10 -1
   2: broken
   3: 0100007F:1F90 0100007F:XXXX 01 00000000:00000000 00:00000000 00000000     0        0 1
`

const table6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 5 1 0 100 0 0 10 0
   1: B80D0120000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 6 1 0 100 0 0 10 0
`

func read(t *testing.T, text, protocol string) (all []Socket) {
	t.Helper()
	if err := parseTable(strings.NewReader(text), protocol, func(s Socket) { all = append(all, s) }); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTable(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddrPort
	compare := cmpopts.EquateComparable(netip.AddrPort{})
	got := read(t, table, "tcp")
	want := []Socket{
		{Protocol: "tcp", Local: at("127.0.0.1:8080"), Remote: at("0.0.0.0:0"), State: 10, Inode: 469115},
		{Protocol: "tcp", Local: at("10.1.0.11:50000"), Remote: at("203.113.0.2:443"), State: 1, Inode: 77},
	}
	if d := cmp.Diff(want, got, compare); d != "" {
		t.Error(d)
	}
	if !got[0].Listening() || got[0].Connected() || !got[1].Connected() {
		t.Error("a listener is taken for a connection")
	}
	got = read(t, table6, "udp")
	want = []Socket{
		{Protocol: "udp", Local: at("127.0.0.1:8080"), Remote: at("127.0.0.1:40960"), State: 1, Inode: 5},
		{Protocol: "udp", Local: at("[2001:db8::1]:53"), Remote: at("[::]:0"), State: 7, Inode: 6},
	}
	if d := cmp.Diff(want, got, compare); d != "" {
		t.Error(d)
	}
	if got[0].Listening() || !got[1].Listening() {
		t.Error("a UDP socket without a peer serves anybody")
	}
}

func FuzzTable(f *testing.F) {
	f.Add(table)
	f.Add(table6)
	f.Add("0: :1F90 : 01 a b c d e 5")
	f.Fuzz(func(t *testing.T, text string) {
		_ = parseTable(strings.NewReader(text), "tcp", func(s Socket) {
			if !s.Local.IsValid() || !s.Remote.IsValid() {
				t.Errorf("%+v", s)
			}
		})
	})
}

func TestGroups(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("0123456789abcdef", 4)
	tests := []struct{ name, text, unit, container string }{
		{"v2", "0::/system.slice/nginx.service\n", "nginx.service", ""},
		{"v1", "4:memory:/system.slice/other.service\n1:name=systemd:/system.slice/redis-server.service\n0::/\n", "redis-server.service", ""},
		{"instance", `0::/system.slice/system-postgresql.slice/postgresql@15-main.service`, "postgresql@15-main.service", ""},
		{"user", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/sync.service\n", "sync.service", ""},
		{"session", "0::/user.slice/user-1000.slice/session-3.scope\n", "", ""},
		{"docker", "0::/system.slice/docker-" + id + ".scope\n", "", id},
		{"docker without systemd", "5:cpu:/docker/" + id + "\n0::/\n", "", id},
		{"unit in container", "0::/docker/" + id + "/system.slice/cron.service\n", "cron.service", id},
		{"kubernetes", "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + id + ".scope\n", "", id},
		{"podman", "0::/machine.slice/libpod-" + id + ".scope/container\n", "", id},
		{"guest", `0::/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt/emulator`, `machine-qemu\x2d1\x2dweb.scope`, ""},
		{"nothing", "", "", ""},
		{"nonsense", "a\n:b\n::\n", "", ""},
	}
	for _, tt := range tests {
		unit, container := parseGroups(tt.text)
		if unit != tt.unit || container != tt.container {
			t.Errorf("%s: unit %q, container %q", tt.name, unit, container)
		}
	}
}

func FuzzGroups(f *testing.F) {
	f.Add("0::/system.slice/nginx.service\n")
	f.Fuzz(func(t *testing.T, text string) {
		if unit, container := parseGroups(text); len(unit) > maxText || len(container) > idLength {
			t.Errorf("%q %q", unit, container)
		}
	})
}

func TestStat(t *testing.T) {
	t.Parallel()
	rest := " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	name, start, ok := parseStat([]byte("12 (a) (b c)" + rest))
	if name != "a) (b c" || start != 4711 || !ok {
		t.Error(name, start, ok)
	}
	for _, text := range []string{"", "12 (a", "12 )a(", "12 (a) S 1"} {
		if _, _, ok := parseStat([]byte(text)); ok {
			t.Errorf("%q is taken for a process", text)
		}
	}
}

func FuzzStat(f *testing.F) {
	f.Add([]byte("12 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"))
	f.Fuzz(func(_ *testing.T, text []byte) { parseStat(text) })
}

func TestText(t *testing.T) {
	t.Parallel()
	if got := Text("/bin/a\xff\x1b["); got != "/bin/a??[" {
		t.Errorf("%q", got)
	}
	if got := Text(strings.Repeat("ä", 400)); len(got) != maxText {
		t.Errorf("%d bytes", len(got))
	}
}

// This process, as /proc has it, holds a listener that a survey finds.
func TestCensus(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	p := New("/proc")
	c, err := p.Census()
	if err != nil {
		t.Fatal(err)
	}
	var owner int
	err = p.Tables(os.Getpid(), "tcp", func(s Socket) {
		if s.Listening() && s.Local.String() == ln.Addr().String() {
			owner = c.Owners[s.Inode]
		}
	})
	if err != nil || owner != os.Getpid() || !c.Processes[owner] {
		t.Errorf("owner %d, %v", owner, err)
	}
	me, err := p.Process(os.Getpid())
	self, _ := os.Executable()
	if err != nil || me.Executable != self || me.Start == 0 {
		t.Errorf("%+v, %v", me, err)
	}
	if _, err := p.Process(1 << 30); err == nil {
		t.Error("a process that is not there has a name")
	}
}

// A program that is started by another name of its file goes by that name.
func TestAliasOfAProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "redis-check-rdb"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("redis-check-rdb", filepath.Join(dir, "redis-server")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"redis-server", "redis-check-rdb"} {
		c := exec.Command(filepath.Join(dir, name), "60")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		found, err := New("/proc").Process(c.Process.Pid)
		_ = c.Process.Kill()
		_ = c.Wait() // it was killed
		if err != nil || found.Executable != filepath.Join(dir, name) {
			t.Errorf("%s: %q, %v", name, found.Executable, err)
		}
	}
}

// The same of a file that an upgrade replaced, which the kernel's link leads to no
// more. A process may call itself anything: only a name of its own file counts.
func TestAlias(t *testing.T) {
	t.Parallel()
	const exe = "/usr/bin/redis-check-rdb"
	p, root := fakeRoot(t, map[string]string{"usr/bin/redis-check-rdb": "", "usr/bin/bash": "", "usr/bin/a-very-long-name": ""})
	bin, dir := filepath.Join(root, "usr", "bin"), filepath.Join(p.Root(), "7")
	if err := errors.Join(
		os.Symlink("redis-check-rdb", filepath.Join(bin, "redis-server")),
		os.Link(filepath.Join(bin, "redis-check-rdb"), filepath.Join(bin, "redis-hard")),
		os.Symlink(filepath.Join(bin, "redis-check-rdb"), filepath.Join(bin, "outside")),
	); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, comm, link, want string }{
		{"its own name", "redis-check-rdb", exe, exe},
		{"a link", "redis-server", exe, "/usr/bin/redis-server"},
		{"another name of the file", "redis-hard", exe, "/usr/bin/redis-hard"},
		{"another file", "bash", exe, exe},
		{"no file", "worker", exe, exe},
		{"a link that leads out", "outside", exe, exe},
		{"a way", "../bin/redis-server", exe, exe},
		{"a directory", "..", exe, exe},
		{"nothing", "", exe, exe},
		{"a name that the kernel cut", "a-very-long-nam", "/usr/bin/a-very-long-name", "/usr/bin/a-very-long-name"},
		{"no path", "redis-server", "memfd:x", "memfd:x"},
	} {
		if err := os.Symlink(tt.link+" (deleted)", filepath.Join(dir, "exe")); err != nil {
			t.Fatal(err)
		}
		if got, ok := executable(dir, tt.comm); got != tt.want || !ok {
			t.Errorf("%s: %q", tt.name, got)
		}
		if err := os.Remove(filepath.Join(dir, "exe")); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := executable(dir, "kthreadd"); ok {
		t.Error("a kernel thread has an executable")
	}
}

// fakeRoot makes a proc with one process whose root has a dpkg database.
func fakeRoot(t *testing.T, files map[string]string) (Proc, string) {
	t.Helper()
	proc := t.TempDir()
	for _, pid := range []string{"7", "self"} {
		if err := os.MkdirAll(filepath.Join(proc, pid, "ns"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("mnt:["+pid+"]", filepath.Join(proc, pid, "ns", "mnt")); err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join(proc, "7", "root")
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return New(proc), root
}

func TestDebianPackage(t *testing.T) {
	t.Parallel()
	p, root := fakeRoot(t, map[string]string{
		"var/lib/dpkg/info/nginx:amd64.list": "/.\n/usr\n/usr/sbin\n/usr/sbin/nginx\n",
		"var/lib/dpkg/info/bash.list":        "/.\n/bin/bash",
		"var/lib/dpkg/info/dash.list":        "/.\n/bin/dash\n",
		"var/lib/dpkg/status":                "Package: bash\nVersion: 5.2\n\nPackage: nginx\nStatus: install ok installed\nVersion: 1.22.1-9\n\nPackage: dash\nVersion: 0.5\n",
	})
	k := NewPackages(p)
	k.rpm = ""
	look := func(path string) string {
		program, ok := k.Program(7, path)
		if !ok {
			return "none"
		}
		name, version := k.Of(context.Background(), program)
		return name + " " + version
	}
	for path, want := range map[string]string{
		"/usr/sbin/nginx": "nginx 1.22.1-9",
		"/usr/bin/dash":   "dash 0.5", // before the directories became one
		"/usr/sbin/ngin":  " ",
		"nginx":           "none",
	} {
		if got := look(path); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	if got := look("/usr/sbin/nginx"); got != "nginx 1.22.1-9" {
		t.Errorf("looked up twice: %q", got)
	}
}

// A container may put anything into its tree: links out of it, or pipes that
// nobody writes to.
func TestDebianPackageOfAHostileContainer(t *testing.T) {
	t.Parallel()
	p, root := fakeRoot(t, map[string]string{"var/lib/dpkg/info/a.list": "\n"})
	outside := filepath.Join(t.TempDir(), "outside.list")
	if err := os.WriteFile(outside, []byte("/usr/bin/x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, "var/lib/dpkg/info/evil.list")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(root, "var/lib/dpkg/info/pipe.list"), 0o644); err != nil {
		t.Fatal(err)
	}
	k := NewPackages(p)
	program, _ := k.Program(7, "/usr/bin/x")
	if name, _ := k.Of(context.Background(), program); name != "" {
		t.Errorf("a link out of the tree was followed: %q", name)
	}
}

func TestRPM(t *testing.T) {
	t.Parallel()
	p, _ := fakeRoot(t, nil)
	proc := p.Root()
	if err := os.MkdirAll(filepath.Join(proc, "self", "root"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(proc, "7", "ns", "mnt")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("mnt:[self]", filepath.Join(proc, "7", "ns", "mnt")); err != nil {
		t.Fatal(err)
	}
	k := NewPackages(p)
	k.rpm = filepath.Join(t.TempDir(), "rpm")
	script := "#!/bin/sh\n[ \"$5\" = /usr/sbin/httpd ] || exit 1\nprintf 'httpd\\t2.4.57-5.el9\\n'\n"
	if err := os.WriteFile(k.rpm, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/usr/sbin/httpd": "httpd 2.4.57-5.el9", "/opt/x": " "} {
		program, ok := k.Program(7, path)
		name, version := k.Of(t.Context(), program)
		if got := name + " " + version; !ok || got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
}
