package inspect

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
	"github.com/droveway/droveway/internal/image/identify"
)

// osRelease is a file of that name.
func osRelease(id, version string) string {
	return "NAME=x\nID=\"" + id + "\"\nVERSION_ID=\"" + version + "\"\n"
}

// guest is what a system of some kind has in its files, as far as it matters.
type guest struct {
	id, version string
	files       map[string]string
}

// guests are small likenesses of real systems, each with the files that its
// installer leaves.
var guests = []guest{
	{"debian12", "12.5", map[string]string{
		"etc/os-release": "-> ../usr/lib/os-release", "usr/lib/os-release": osRelease("debian", "12"), "etc/debian_version": "12.5\n", "var/lib/dpkg/status": "Package: base-files\nStatus: install ok installed\nVersion: 12.4+deb12u5\n\n",
		"etc/apt/sources.list": "deb http://mirror.example/debian bookworm main\n", "lib/modules/6.1.0-18-amd64/x": "", "etc/issue": "Debian GNU/Linux 12 \\n \\l\n",
	}},
	{"debian7", "7.11", map[string]string{
		"etc/os-release": osRelease("debian", "7"), "etc/debian_version": "7.11\n", "var/lib/dpkg/status": "Package: base-files\nVersion: 7.1wheezy11\n", "etc/apt/sources.list": "deb http://archive.debian.org/debian/ wheezy main\n",
		"lib/modules/3.2.0-4-amd64/x": "", "lib/x86_64-linux-gnu/libc-2.13.so": "",
	}},
	{"debian5", "5.0.10", map[string]string{
		"etc/debian_version": "5.0.10\n", "var/lib/dpkg/status": "Package: base-files\nVersion: 5lenny10\n", "etc/apt/sources.list": "deb http://archive.debian.org/debian lenny main\n", "lib/modules/2.6.26-2-686/x": "",
		"etc/issue": "Debian GNU/Linux 5.0 \\n \\l\n", "lib/libc-2.7.so": "",
	}},
	{"ubuntu22.04", "22.04", map[string]string{
		"etc/os-release": osRelease("ubuntu", "22.04"), "etc/lsb-release": "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.04\n", "etc/debian_version": "bookworm/sid\n", "var/lib/dpkg/status": "Package: base-files\nVersion: 12ubuntu4.6\n",
		"etc/apt/sources.list": "deb http://archive.ubuntu.com/ubuntu jammy main\n", "lib/modules/5.15.0-100-generic/x": "", "usr/share/keyrings/ubuntu-archive-keyring.gpg": "", "etc/issue": "Ubuntu 22.04.4 LTS \\n \\l\n",
	}},
	{"ubuntu10.04", "10.04", map[string]string{
		"etc/lsb-release": "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=10.04\n", "etc/debian_version": "squeeze/sid\n", "var/lib/dpkg/status": "Package: base-files\nVersion: 5.0.0ubuntu20\n",
		"etc/apt/sources.list": "deb http://archive.ubuntu.com/ubuntu/ lucid main\n", "lib/modules/2.6.32-21-server/x": "", "lib/libc-2.11.1.so": "", "etc/issue": "Ubuntu 10.04 LTS \\n \\l\n",
	}},
	{"ubuntu24.04", "24.04", map[string]string{
		"etc/os-release": osRelease("ubuntu", "24.04"), "etc/lsb-release": "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=24.04\n", "etc/debian_version": "trixie/sid\n", "var/lib/dpkg/status": "Package: base-files\nVersion: 13ubuntu10\n",
		"etc/apt/sources.list.d/ubuntu.sources": "Types: deb\nURIs: http://archive.ubuntu.com/ubuntu/\nSuites: noble noble-updates\n", "lib/modules/6.8.0-31-generic/x": "",
	}},
	{"rhel7-unknown", "7.9", map[string]string{
		"etc/os-release": osRelease("rhel", "7.9"), "etc/redhat-release": "Red Hat Enterprise Linux Server release 7.9 (Maipo)\n", "etc/system-release-cpe": "cpe:/o:redhat:enterprise_linux:7.9:ga:server\n",
		"var/lib/rpm/Packages": "", "lib/modules/3.10.0-1160.el7.x86_64/x": "", "lib64/libc-2.17.so": "", "etc/pki/rpm-gpg/RPM-GPG-KEY-redhat-release": "",
	}},
	{"rhel5-unknown", "5.11", map[string]string{
		"etc/redhat-release": "Red Hat Enterprise Linux Server release 5.11 (Tikanga)\n", "etc/issue": "Red Hat Enterprise Linux Server release 5.11 (Tikanga)\nKernel \\r on an \\m\n", "var/lib/rpm/Packages": "", "lib/modules/2.6.18-398.el5/x": "",
		"lib64/libc-2.5.so": "", "etc/pki/rpm-gpg/RPM-GPG-KEY-redhat-release": "",
	}},
	{"centos6.0", "6.10", map[string]string{
		"etc/redhat-release": "CentOS release 6.10 (Final)\n", "etc/centos-release": "CentOS release 6.10 (Final)\n", "etc/system-release-cpe": "cpe:/o:centos:linux:6:GA\n", "var/lib/rpm/Packages": "", "lib/modules/2.6.32-754.el6.x86_64/x": "",
		"lib64/libc-2.12.so": "", "etc/yum.repos.d/CentOS-Base.repo": "", "etc/pki/rpm-gpg/RPM-GPG-KEY-CentOS-6": "",
	}},
	{"centos-stream9", "9", map[string]string{
		"etc/os-release": osRelease("centos", "9"), "etc/redhat-release": "CentOS Stream release 9\n", "etc/system-release-cpe": "cpe:/o:centos:centos:9\n", "var/lib/rpm/rpmdb.sqlite": "", "lib/modules/5.14.0-419.el9.x86_64/x": "",
		"etc/yum.repos.d/centos.repo": "", "etc/pki/rpm-gpg/RPM-GPG-KEY-centosofficial": "",
	}},
	{"almalinux9", "9.3", map[string]string{
		"etc/os-release": osRelease("almalinux", "9.3"), "etc/redhat-release": "AlmaLinux release 9.3 (Shamrock Pampas Cat)\n", "etc/system-release-cpe": "cpe:/o:almalinux:almalinux:9::baseos\n", "var/lib/rpm/rpmdb.sqlite": "",
		"lib/modules/5.14.0-362.8.1.el9_3.x86_64/x": "", "etc/yum.repos.d/almalinux-baseos.repo": "", "etc/pki/rpm-gpg/RPM-GPG-KEY-AlmaLinux-9": "",
	}},
	{"rocky8", "8.9", map[string]string{
		"etc/os-release": osRelease("rocky", "8.9"), "etc/redhat-release": "Rocky Linux release 8.9 (Green Obsidian)\n", "var/lib/rpm/Packages": "", "lib/modules/4.18.0-513.el8.x86_64/x": "", "lib64/libc-2.28.so": "",
		"etc/yum.repos.d/Rocky-BaseOS.repo": "", "etc/pki/rpm-gpg/RPM-GPG-KEY-rockyofficial": "",
	}},
	{"ol8.0", "8.9", map[string]string{
		"etc/os-release": osRelease("ol", "8.9"), "etc/redhat-release": "Red Hat Enterprise Linux release 8.9 (Ootpa)\n", "etc/oracle-release": "Oracle Linux Server release 8.9\n", "etc/system-release-cpe": "cpe:/o:oracle:linux:8:9:server\n",
		"var/lib/rpm/Packages": "", "lib/modules/4.18.0-513.el8.x86_64/x": "", "lib64/libc-2.28.so": "", "etc/yum.repos.d/oracle-linux-ol8.repo": "", "etc/pki/rpm-gpg/RPM-GPG-KEY-oracle": "",
	}},
	{"fedora39", "39", map[string]string{
		"etc/os-release": osRelease("fedora", "39"), "etc/redhat-release": "Fedora release 39 (Thirty Nine)\n", "etc/system-release-cpe": "cpe:/o:fedoraproject:fedora:39\n", "usr/lib/sysimage/rpm/rpmdb.sqlite": "",
		"lib/modules/6.5.6-300.fc39.x86_64/x": "", "etc/yum.repos.d/fedora.repo": "", "etc/pki/rpm-gpg/RPM-GPG-KEY-fedora-39-x86_64": "",
	}},
	{"sles15sp4", "15.4", map[string]string{
		"etc/os-release": osRelease("sles", "15.4"), "usr/lib/sysimage/rpm/Packages.db": "", "etc/products.d/SLES.prod": "", "lib/modules/5.14.21-150400.24.11-default/x": "", "etc/issue": "\nWelcome to SUSE Linux Enterprise Server 15 SP4  (x86_64) - Kernel \\r (\\l).\n",
	}},
	{"sles11sp3", "11.3", map[string]string{
		"etc/SuSE-release": "SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\nPATCHLEVEL = 3\n", "var/lib/rpm/Packages": "", "etc/products.d/SUSE_SLES.prod": "", "etc/issue": "\nWelcome to SUSE Linux Enterprise Server 11 SP3  (x86_64) - Kernel \\r (\\l).\n",
	}},
	{"opensuse15.5", "15.5", map[string]string{
		"etc/os-release": osRelease("opensuse-leap", "15.5"), "usr/lib/sysimage/rpm/Packages.db": "", "etc/products.d/Leap.prod": "", "lib/modules/5.14.21-150500.53-default/x": "", "etc/issue": "\nWelcome to openSUSE Leap 15.5 - Kernel \\r (\\l).\n",
	}},
	{"archlinux", "", map[string]string{
		"etc/os-release": "NAME=Arch\nID=arch\n", "etc/arch-release": "", "etc/pacman.d/mirrorlist": "", "var/lib/pacman/local/x": "", "usr/lib/modules/6.7.4-arch1-1/x": "", "etc/issue": "Arch Linux \\r (\\l)\n",
	}},
	{"alpinelinux3.19", "3.19.1", map[string]string{
		"etc/os-release": osRelease("alpine", "3.19.1"), "etc/alpine-release": "3.19.1\n", "lib/apk/db/installed": "", "etc/apk/repositories": "https://dl-cdn.alpinelinux.org/alpine/v3.19/main\n", "lib/ld-musl-x86_64.so.1": "",
		"etc/issue": "Welcome to Alpine Linux 3.19\n",
	}},
	{"amazonlinux2", "2", map[string]string{
		"etc/os-release": osRelease("amzn", "2"), "etc/system-release": "Amazon Linux release 2 (Karoo)\n", "etc/system-release-cpe": "cpe:2.3:o:amazon:amazon_linux:2\n", "var/lib/rpm/Packages": "", "lib/modules/4.14.336-253.554.amzn2.x86_64/x": "",
		"etc/pki/rpm-gpg/RPM-GPG-KEY-amazon-linux-2": "",
	}},
	{"amazonlinux2023", "2023", map[string]string{
		"etc/os-release": osRelease("amzn", "2023"), "etc/system-release": "Amazon Linux release 2023 (Amazon Linux)\n", "etc/system-release-cpe": "cpe:2.3:o:amazon:amazon_linux:2023\n", "var/lib/rpm/rpmdb.sqlite": "",
		"lib/modules/6.1.77-99.164.amzn2023.x86_64/x": "", "etc/pki/rpm-gpg/RPM-GPG-KEY-amazon-linux-2023": "",
	}},
	{"freebsd14.0", "14.0-RELEASE", map[string]string{
		"etc/os-release": "NAME=FreeBSD\nID=freebsd\nVERSION_ID=14.0\n", "bin/freebsd-version": "#!/bin/sh\nUSERLAND_VERSION=\"14.0-RELEASE\"\n", "boot/kernel/kernel": "", "boot/loader": "", "etc/rc.conf": "",
	}},
}

func catalog(t *testing.T) *identify.Catalog {
	t.Helper()
	c, err := identify.Default()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// look identifies a tree of files.
func look(c *identify.Catalog, files map[string]string) identify.Report {
	s := &inspection{catalog: c, report: &Report{}, tree: filesystem.NewTree(filesystemtest.Memory{What: filesystemtest.FilesOf(files)}, false)}
	s.identify()
	return s.report.OS
}

func (g *guest) expect(t *testing.T, r identify.Report) {
	t.Helper()
	if r.Status != identify.Identified || r.ID != g.id {
		t.Errorf("%s %s (margin %.3f), want %s: %s", r.Status, r.ID, r.Margin, g.id, strings.Join(r.Why, "; "))
		for _, k := range r.Ranked[:min(2, len(r.Ranked))] {
			t.Errorf("%s at %.3f: %v", k.ID, k.Distance, k.Evidence)
		}
	}
}

// SYSTEMS 5.1
func TestIdentify(t *testing.T) {
	c := catalog(t)
	for _, g := range guests {
		t.Run(g.id, func(t *testing.T) {
			r := look(c, g.files)
			g.expect(t, r)
			if r.Version != g.version {
				t.Errorf("version %q, want %q", r.Version, g.version)
			}
		})
	}
}

// SYSTEMS 5.2
func TestWithoutOSRelease(t *testing.T) {
	c := catalog(t)
	for _, g := range guests {
		t.Run(g.id, func(t *testing.T) {
			files := maps.Clone(g.files)
			delete(files, "etc/os-release")
			delete(files, "usr/lib/os-release")
			g.expect(t, look(c, files))
		})
	}
}

// SYSTEMS 5.3
func TestContradiction(t *testing.T) {
	c := catalog(t)
	find := func(id string) map[string]string {
		for _, g := range guests {
			if g.id == id {
				return maps.Clone(g.files)
			}
		}
		t.Fatalf("no guest %s", id)
		return nil
	}
	for name, files := range map[string]map[string]string{
		"another release file":  with(find("debian12"), "etc/redhat-release", "CentOS Linux release 7.9.2009 (Core)\n"),
		"another version":       with(find("debian12"), "usr/lib/os-release", osRelease("debian", "11")),
		"another distribution":  with(find("almalinux9"), "etc/os-release", osRelease("rocky", "9.3")),
		"two package databases": with(with(find("ubuntu22.04"), "etc/alpine-release", "3.19.1\n"), "lib/apk/db/installed", ""),
		"older release file":    with(find("rhel7-unknown"), "etc/redhat-release", "Red Hat Enterprise Linux Server release 6.9 (Santiago)\n"),
		"an unknown derivative": with(find("ubuntu22.04"), "etc/os-release", osRelease("linuxmint", "21")),
	} {
		if r := look(c, files); r.Status != identify.Ambiguous {
			t.Errorf("%s: %s %s, want ambiguous: %s", name, r.Status, r.ID, strings.Join(r.Why, "; "))
		}
	}
}

func with(files map[string]string, name, what string) map[string]string {
	files[name] = what
	return files
}

func TestUnknownIsUnsupported(t *testing.T) {
	c := catalog(t)
	for name, files := range map[string]map[string]string{
		"nothing":     {},
		"other linux": {"etc/fstab": "", "etc/passwd": "", "sbin/init": "", "etc/os-release": osRelease("haiku", "1")},
	} {
		if r := look(c, files); r.Status != identify.Unsupported || len(r.Why) == 0 {
			t.Errorf("%s: %s %s, want unsupported", name, r.Status, r.ID)
		} else if other := name == "other linux"; other != (r.ID == "linux2024") {
			t.Errorf("%s is called %q", name, r.ID)
		}
	}
}

const haiku = `distro: haiku
exact: [haiku-release]
tests:
  haiku-release: {file: [/boot/system/release], match: 'R1/(\S+)'}
  haiku-kernel: {glob: [/boot/system/kernel_*]}
features:
  - {test: haiku-release, is: '^${version}', weight: 10}
  - {test: haiku-kernel, is: x86, weight: 6}
versions:
  - {id: haikur1beta4, name: Haiku R1/beta4, vars: {version: beta4}}
  - {id: haikur1beta5, name: Haiku R1/beta5, vars: {version: beta5}}
`

// TestAddSystemByFile adds a system while the program runs. SYSTEMS 5.4
func TestAddSystemByFile(t *testing.T) {
	files := map[string]string{"boot/system/release": "Haiku R1/beta5\n", "boot/system/kernel_x86_64": ""}
	c := catalog(t)
	if r := look(c, files); r.Status != identify.Unsupported {
		t.Errorf("before: %s %s", r.Status, r.ID)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "haiku.yaml"), []byte(haiku), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Add(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if r := look(c, files); r.Status != identify.Identified || r.ID != "haikur1beta5" || r.Version != "beta5" {
		t.Errorf("after: %s %s %s: %v", r.Status, r.ID, r.Version, r.Why)
	}
	for _, g := range guests {
		g.expect(t, look(c, g.files)) // the others are as before
	}
}
