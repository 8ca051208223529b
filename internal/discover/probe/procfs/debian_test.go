package procfs

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rename puts a file with a new text into the place of another, as dpkg does.
func rename(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+"-new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+"-new", path); err != nil {
		t.Fatal(err)
	}
}

// looker looks executables up as process 7 sees them.
func looker(t *testing.T, p Proc) func(path string) string {
	k := NewPackages(p)
	k.rpm = ""
	return func(path string) string {
		t.Helper()
		program, ok := k.Program(7, path)
		if !ok {
			t.Fatalf("%s: no program", path)
		}
		name, version := k.Of(context.Background(), program)
		return name + " " + version
	}
}

// SYSTEMS 3: what a probe costs. The lists are read for the first program alone, and
// again once dpkg has changed them.
func TestDebianListsAreReadOnce(t *testing.T) {
	t.Parallel()
	p, root := fakeRoot(t, map[string]string{
		"var/lib/dpkg/info/a.list": "/usr/bin/a\n",
		"var/lib/dpkg/info/b.list": "/usr/bin/b\n/usr/bin/b2\n",
		"var/lib/dpkg/status":      "Package: a\nVersion: 1\n\nPackage: b\nVersion: 2\n",
	})
	look, lists := looker(t, p), filepath.Join(root, "var/lib/dpkg/info")
	if got := look("/usr/bin/a"); got != "a 1" {
		t.Errorf("%q", got)
	}
	// In their place, so that nothing tells of it: who reads them again finds nothing.
	for _, name := range []string{"a.list", "b.list"} {
		if err := os.WriteFile(filepath.Join(lists, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{"/usr/bin/b": "b 2", "/bin/b2": "b 2", "/usr/bin/c": " "} {
		if got := look(path); got != want {
			t.Errorf("%s: %q, want %q: the lists were read again", path, got, want)
		}
	}
	rename(t, filepath.Join(lists, "c.list"), "/usr/bin/c\n")
	if got := look("/usr/bin/c"); got != "c " {
		t.Errorf("installed since: %q", got)
	}
	if got := look("/usr/bin/b"); got != " " {
		t.Errorf("taken away since: %q", got)
	}
}

// After an upgrade a program has its new version.
func TestDebianUpgrade(t *testing.T) {
	t.Parallel()
	p, root := fakeRoot(t, map[string]string{
		"var/lib/dpkg/info/nginx.list": "/usr/sbin/nginx\n",
		"var/lib/dpkg/status":          "Package: nginx\nArchitecture: amd64\nVersion: 1.22\n\nPackage: nginx\nArchitecture: i386\nVersion: 1.20\n",
	})
	look := looker(t, p)
	if got := look("/usr/sbin/nginx"); got != "nginx 1.22" {
		t.Errorf("%q", got)
	}
	rename(t, filepath.Join(root, "var/lib/dpkg/status"), "Package: nginx\nVersion: 1.24\n")
	if got := look("/usr/sbin/nginx"); got != "nginx 1.24" {
		t.Errorf("after the upgrade: %q", got)
	}
	// The process is gone, and its number is another one's, in another container.
	ns := filepath.Join(p.Root(), "7", "ns", "mnt")
	program, _ := NewPackages(p).Program(7, "/usr/sbin/nginx")
	if err := os.Remove(ns); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("mnt:[8]", ns); err != nil {
		t.Fatal(err)
	}
	if name, _ := NewPackages(p).Of(context.Background(), program); name != "" {
		t.Errorf("the tree of another process was taken for its own: %q", name)
	}
}

// A tree with more files than an index has is still looked through.
func TestDebianBeyondTheIndex(t *testing.T) {
	t.Parallel()
	half := strings.Repeat("/x\n", maxPaths/2)
	p, _ := fakeRoot(t, map[string]string{
		"var/lib/dpkg/info/a.list": half + "/usr/bin/a\n",
		"var/lib/dpkg/info/b.list": half + "/usr/bin/b\n",
		"var/lib/dpkg/info/c.list": half + "/usr/bin/c\n",
	})
	look := looker(t, p)
	for _, name := range []string{"a", "b", "c"} {
		if got := look("/bin/" + name); got != name+" " {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// FuzzDebian: whatever a container puts into its database, a look-up ends, and finds only
// a package that has a list.
func FuzzDebian(f *testing.F) {
	f.Add([]byte("/usr/bin/a\n"), []byte("Package: a\nVersion: 1\n"), "/usr/bin/a")
	f.Add([]byte("\n\n/usr/bin/a"), []byte("Version: 1\nPackage: a\n"), "/bin/a")
	f.Add([]byte{0, '\n', 0xff}, []byte("Package: \nVersion: \n"), "")
	f.Fuzz(func(t *testing.T, list, status []byte, executable string) {
		_, root := fakeRoot(t, map[string]string{"var/lib/dpkg/info/a:any.list": string(list), "var/lib/dpkg/status": string(status)})
		tree, err := os.OpenRoot(root)
		if err != nil {
			t.Fatal(err)
		}
		defer tree.Close()
		got := readDebian(tree, debianStateOf(tree)).find(tree, executable)
		if got.name != "" && got.name != "a" || got.name == "" && got.version != "" {
			t.Errorf("%+v", got)
		}
	})
}
