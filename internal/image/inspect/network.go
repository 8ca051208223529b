package inspect

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Limits of what is read of network settings.
const (
	maxNetFiles = 64
	maxStatic   = 64
	maxYAML     = 64 << 10 // bytes
)

// netReader reads one way to configure a network. It gives each fixed address, and
// cards that have none with an empty one.
type netReader struct {
	kind  string
	globs []string
	read  func(file, text string) []Static
}

func netReaders() []netReader {
	return []netReader{
		{"netplan", []string{"/etc/netplan/*.yaml", "/etc/netplan/*.yml"}, netplanStatic},
		{"networkmanager", []string{"/etc/NetworkManager/system-connections/*"}, keyfileStatic},
		{"networkd", []string{"/etc/systemd/network/*.network"}, networkdStatic},
		{"ifupdown", []string{"/etc/network/interfaces", "/etc/network/interfaces.d/*"}, ifupdownStatic},
		{"ifcfg", []string{"/etc/sysconfig/network-scripts/ifcfg-*", "/etc/sysconfig/network/ifcfg-*"}, ifcfgStatic},
		{"netctl", []string{"/etc/netctl/*"}, ifcfgStatic},
		{"rc", []string{"/etc/rc.conf"}, rcStatic},
	}
}

func (s *inspection) network() Network {
	var n Network
	for _, r := range netReaders() {
		for _, f := range s.netFiles(r.globs) {
			b, err := s.tree.ReadFile(f, maxConfig)
			if err != nil || r.kind == "rc" && !strings.Contains(string(b), "ifconfig_") {
				continue
			}
			if !slices.Contains(n.Kinds, r.kind) {
				n.Kinds = append(n.Kinds, r.kind)
			}
			n.take(r.read(f, string(b)))
		}
	}
	return n
}

// cardName is what cards are called, and not bridges, bonds or patterns.
var cardName = regexp.MustCompile(`^(?:eth\d+|en[a-z0-9]+)$`)

// take adds what a file says. A card without a fixed address has an empty one.
func (n *Network) take(found []Static) {
	for _, a := range found {
		if cardName.MatchString(a.Interface) && !slices.Contains(n.Names, a.Interface) && len(n.Names) < maxStatic {
			n.Names = append(n.Names, a.Interface)
		}
		if a.Address != "" && len(n.Static) < maxStatic {
			n.Static = append(n.Static, a)
		}
	}
}

func (s *inspection) netFiles(globs []string) []string {
	var all []string
	for _, g := range globs {
		for _, f := range s.tree.Glob(g) {
			if path.Base(f) != "ifcfg-lo" && s.tree.Mode(f).IsRegular() && s.tree.Exists(f) && len(all) < maxNetFiles {
				all = append(all, f)
			}
		}
	}
	return all
}

// ifupdownStatic reads interfaces(5).
func ifupdownStatic(file, text string) []Static {
	var all []Static
	var current string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 4 && f[0] == "iface":
			current = ""
			if f[3] == "static" {
				current = f[1]
			} else {
				all = append(all, Static{f[1], "", file})
			}
		case len(f) >= 2 && f[0] == "address" && current != "":
			all = append(all, Static{current, f[1], file})
		}
	}
	return all
}

// ifcfgStatic reads the files of Red Hat and SUSE.
func ifcfgStatic(file, text string) []Static {
	name := strings.TrimPrefix(path.Base(file), "ifcfg-")
	if v := lookUp(text, "DEVICE"); len(v) > 0 && v[0] != "" {
		name = v[0]
	}
	if len(lookUp(text, "BOOTPROTO")) > 0 && strings.Contains(strings.ToLower(lookUp(text, "BOOTPROTO")[0]), "dhcp") {
		return []Static{{name, "", file}}
	}
	for _, key := range []string{"IPADDR", "IPADDR0", "Address"} {
		if v := lookUp(text, key); len(v) > 0 && v[0] != "" {
			return []Static{{name, v[0], file}}
		}
	}
	return []Static{{name, "", file}}
}

var rcAddress = regexp.MustCompile(`(?m)^ifconfig_(\w+)="?(?:inet )?(\d+\.\d+\.\d+\.\d+\S*)`)

// rcStatic reads ifconfig_NAME="inet 192.0.2.1 netmask …" of FreeBSD.
func rcStatic(file, text string) []Static {
	var all []Static
	for _, m := range rcAddress.FindAllStringSubmatch(text, maxStatic) {
		all = append(all, Static{m[1], m[2], file})
	}
	return all
}

// networkdStatic reads systemd.network(5).
func networkdStatic(file, text string) []Static {
	name := strings.TrimSuffix(path.Base(file), ".network")
	var all []Static
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch strings.TrimSpace(key) {
		case "Name":
			name = strings.TrimSpace(value)
		case "Address":
			all = append(all, Static{name, strings.TrimSpace(value), file})
		}
	}
	return orCard(all, name, file)
}

// orCard is the card alone where there is no address.
func orCard(all []Static, name, file string) []Static {
	if len(all) == 0 {
		return []Static{{name, "", file}}
	}
	return all
}

var keyfileAddress = regexp.MustCompile(`(?m)^address(?:es)?\d*\s*=\s*([0-9a-fA-F:.]+(?:/\d+)?)`)

// keyfileStatic reads the key files of NetworkManager.
func keyfileStatic(file, text string) []Static {
	name := path.Base(file)
	if v := lookUp(text, "interface-name"); len(v) > 0 {
		name = v[0]
	}
	var all []Static
	for _, m := range keyfileAddress.FindAllStringSubmatch(text, maxStatic) {
		all = append(all, Static{name, m[1], file})
	}
	return orCard(all, name, file)
}

// netplanStatic reads the YAML of netplan, whose addresses are text or maps from
// an address to its options.
func netplanStatic(file, text string) []Static {
	// No netplan has anchors; a hostile one could multiply itself by them.
	if len(text) > maxYAML || strings.Contains(text, "&") {
		return nil
	}
	var doc struct {
		Network map[string]any `yaml:"network"`
	}
	if yaml.Unmarshal([]byte(text), &doc) != nil {
		return nil
	}
	var all []Static
	for _, group := range sorted(doc.Network) {
		devices, _ := doc.Network[group].(map[string]any)
		for _, name := range sorted(devices) {
			device, _ := devices[name].(map[string]any)
			var fixed []Static
			list, _ := device["addresses"].([]any)
			for _, a := range list {
				fixed = append(fixed, addressOf(name, file, a)...)
			}
			all = append(all, orCard(fixed, name, file)...)
		}
	}
	return all
}

func addressOf(name, file string, a any) []Static {
	switch a := a.(type) {
	case string:
		return []Static{{name, a, file}}
	case map[string]any:
		var all []Static
		for _, k := range sorted(a) {
			all = append(all, Static{name, k, file})
		}
		return all
	}
	return nil
}

func sorted(m map[string]any) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
