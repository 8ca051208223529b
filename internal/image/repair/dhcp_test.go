package repair

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/filesystem/filesystemtest"
	"github.com/droveway/droveway/internal/image/inspect"
)

// TestDHCP gives up fixed addresses in each kind of configuration. SYSTEMS 5.7
func TestDHCP(t *testing.T) {
	t.Parallel()
	for file, k := range map[string]struct{ old, text string }{
		"/etc/network/interfaces": {
			"auto lo eth0\niface lo inet loopback\niface eth0 inet static\n  address 192.0.2.7/24\n\tgateway 192.0.2.1\n  mtu 1400\niface static inet manual\n  address x\n",
			"auto lo eth0\niface lo inet loopback\niface eth0 inet dhcp\n  mtu 1400\niface static inet manual\n  address x\n",
		},
		"/etc/systemd/network/a.network": {
			"[Match]\nName=ens192\n\n[Network]\nDHCP=no\nAddress=192.0.2.7/24\nGateway=192.0.2.1\nDomains=x\n[Route]\nGateway=192.0.2.9\n[Link]\nMTUBytes=1400\n",
			"[Match]\nName=ens192\n\n[Network]\nDHCP=yes\nDomains=x\n[Link]\nMTUBytes=1400\n",
		},
		"/etc/NetworkManager/system-connections/a.nmconnection": {
			"[connection]\nid=address\n[ipv4]\naddress1=192.0.2.7/24,192.0.2.1\ndns=192.0.2.2;\nmethod=manual\nmay-fail=false\n[ipv6]\nmethod=ignore\n",
			"[connection]\nid=address\n[ipv4]\nmethod=auto\nmay-fail=false\n[ipv6]\nmethod=ignore\n",
		},
		"/etc/sysconfig/network-scripts/ifcfg-eth0": {
			"DEVICE=eth0\nBOOTPROTO=none\nIPADDR0=192.0.2.7\nPREFIX0=24\nGATEWAY=192.0.2.1\nDNS1=192.0.2.2\nONBOOT=yes",
			"DEVICE=eth0\nONBOOT=yes\nBOOTPROTO=dhcp\n",
		},
		"/etc/netctl/eth0": {
			"Interface=eth0\nIP=static\nAddress=('192.0.2.7/24')\nGateway=192.0.2.1\n",
			"Interface=eth0\nIP=dhcp\n",
		},
		"/etc/netplan/01.yaml": {
			"# mine\nnetwork:\n  version: 2\n  ethernets:\n    ens192:\n      mtu: 1400\n      addresses: [192.0.2.7/24]\n      routes:\n      - to: default\n        via: 192.0.2.1\n    ens224:\n      optional: true\n",
			"network:\n  ethernets:\n    ens192:\n      dhcp4: true\n      mtu: 1400\n    ens224:\n      optional: true\n  version: 2\n",
		},
		"/etc/netplan/02.yaml": {"network: &a [*a", ""},
	} {
		r := identified("debian12", "debian")
		r.System.Network.Static = []inspect.Static{{Interface: "eth0", Address: "192.0.2.7/24", File: file}, {Interface: "eth0", Address: "192.0.2.8/24", File: file}}
		tree := filesystem.NewTree(filesystemtest.Memory{What: filesystemtest.FilesOf(map[string]string{strings.TrimPrefix(file, "/"): k.old})}, false)
		p, err := MakeWith(r, tree, Options{DHCP: true})
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, f := range p.named("dhcp").Files {
			text += f.Text
		}
		if diff := cmp.Diff(k.text, text); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
		if p, err := Make(r, tree); err != nil || p.named("dhcp").Name != "" || len(p.Findings) == 0 {
			t.Errorf("%s without being asked: %+v", file, p)
		}
	}
}

func FuzzDHCP(f *testing.F) {
	f.Add("network: {ethernets: {a: {addresses: [x]}}}")
	f.Add("iface a inet static\n\taddress")
	f.Add("[Network]\n[Address]")
	f.Add("0:")
	f.Fuzz(func(t *testing.T, old string) {
		for _, e := range dhcpEditors {
			if once := e.edit(old); len(e.edit(once)) > 2*len(once)+64 {
				t.Errorf("%s: %q grows", e.folder, old)
			}
		}
	})
}

// TestKept hides what is kept where a program reads every file.
func TestKept(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"/etc/fstab":                   "/etc/fstab.droveway-orig",
		"/etc/network/interfaces":      "/etc/network/interfaces.droveway-orig",
		"/etc/network/interfaces.d/a":  "/etc/network/interfaces.d/.a.droveway-orig",
		"/etc/sysconfig/network/ifcfg": "/etc/sysconfig/network/.ifcfg.droveway-orig",
	} {
		if got := Kept(file); got != want {
			t.Errorf("%s is kept as %s", file, got)
		}
	}
}
