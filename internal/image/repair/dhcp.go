package repair

import (
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// dhcpEditors turn fixed addresses into those that DHCP gives, by the folder of the
// file that has them.
var dhcpEditors = []struct {
	folder string
	edit   func(old string) string
}{
	{"/etc/netplan/", netplanDHCP},
	{"/etc/NetworkManager/system-connections/", keyfileDHCP},
	{"/etc/systemd/network/", networkdDHCP},
	{"/etc/network/", ifupdownDHCP},
	{"/etc/sysconfig/network-scripts/", ifcfgDHCP},
	{"/etc/sysconfig/network/", ifcfgDHCP},
	{"/etc/netctl/", netctlDHCP},
}

// dhcpEditor is nil where there is none.
func dhcpEditor(file string) func(string) string {
	for _, e := range dhcpEditors {
		if strings.HasPrefix(file, e.folder) {
			return e.edit
		}
	}
	return nil
}

// dhcp gives up fixed addresses, if that is asked for.
func (p *planner) dhcp() {
	if !p.options.DHCP {
		return
	}
	s := Step{Name: "dhcp", What: "take addresses by DHCP", Why: "fixed ones belong to the network that is left behind", Enough: true}
	var seen []string
	for _, a := range p.r.System.Network.Static {
		edit := dhcpEditor(a.File)
		if edit == nil || slices.Contains(seen, a.File) {
			continue
		}
		seen = append(seen, a.File)
		s.Files = append(s.Files, p.change(a.File, edit)...)
	}
	if len(s.Files) > 0 {
		p.step(s)
	}
}

// ifupdownDHCP changes stanzas of interfaces(5).
func ifupdownDHCP(old string) string {
	fixed := []string{"address", "netmask", "gateway", "broadcast", "network", "pointopoint", "dns-nameservers", "dns-nameserver"}
	static := false
	return mapLines(old, func(line string) (string, bool) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 4 && f[0] == "iface":
			if static = f[3] == "static"; static {
				at := field.FindAllStringIndex(line, 4)[3]
				line = line[:at[0]] + "dhcp" + line[at[1]:]
			}
		case len(f) > 0 && static && slices.Contains(fixed, f[0]):
			return "", false
		case len(f) > 0 && (slices.Contains([]string{"auto", "mapping", "source", "source-directory"}, f[0]) || strings.HasPrefix(f[0], "allow-")):
			static = false
		}
		return line, true
	})
}

// mapLines puts another line in the place of each, or none.
func mapLines(text string, fn func(line string) (string, bool)) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line, ok := fn(line); ok {
			b.WriteString(line)
		}
	}
	return b.String()
}

// networkdDHCP changes a file of systemd.network(5).
func networkdDHCP(old string) string {
	section, done := "", false
	text := mapLines(old, func(line string) (string, bool) {
		key := keyOf(line)
		switch {
		case strings.HasPrefix(key, "["):
			section = key
			if section == "[Network]" && !done {
				done = true
				return "[Network]\nDHCP=yes\n", true
			}
			return line, section != "[Address]" && section != "[Route]"
		case section == "[Address]" || section == "[Route]":
			return "", false
		}
		return line, section != "[Network]" || !slices.Contains([]string{"DHCP", "Address", "Gateway", "DNS"}, key)
	})
	if done {
		return text
	}
	return strings.TrimRight(text, "\n") + "\n\n[Network]\nDHCP=yes\n"
}

// keyOf is what stands before the equals sign.
func keyOf(line string) string {
	key, _, _ := strings.Cut(line, "=")
	return strings.TrimSpace(key)
}

// keyfileDHCP changes a connection of NetworkManager.
func keyfileDHCP(old string) string {
	section := ""
	return mapLines(old, func(line string) (string, bool) {
		key := keyOf(line)
		switch {
		case strings.HasPrefix(key, "["):
			section = key
		case section != "[ipv4]" && section != "[ipv6]":
		case key == "method" && strings.Contains(line, "manual"):
			return "method=auto\n", true
		default:
			name := strings.TrimRight(key, "0123456789")
			return line, !slices.Contains([]string{"address", "addresses", "gateway", "dns", "route", "routes"}, name)
		}
		return line, true
	})
}

// ifcfgDHCP changes a file of Red Hat or SUSE.
func ifcfgDHCP(old string) string {
	fixed := []string{"IPADDR", "NETMASK", "PREFIX", "PREFIXLEN", "GATEWAY", "BROADCAST", "NETWORK", "DNS", "BOOTPROTO"}
	text := mapLines(old, func(line string) (string, bool) {
		return line, !slices.Contains(fixed, strings.TrimRight(keyOf(line), "0123456789"))
	})
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + "BOOTPROTO=dhcp\n"
}

// netctlDHCP changes a profile of Arch.
func netctlDHCP(old string) string {
	return mapLines(old, func(line string) (string, bool) {
		switch keyOf(line) {
		case "IP":
			return "IP=dhcp\n", true
		case "Address", "Gateway", "DNS":
			return "", false
		}
		return line, true
	})
}

const maxNetplan = 64 << 10 // bytes

// netplanDHCP changes the devices of netplan that have addresses. Comments and the
// order are lost: the original stays beside it.
func netplanDHCP(old string) string {
	// No netplan has anchors; a hostile one could multiply itself by them.
	if len(old) > maxNetplan || strings.Contains(old, "&") {
		return old
	}
	var doc map[string]any
	if yaml.Unmarshal([]byte(old), &doc) != nil {
		return old
	}
	changed := false
	network, _ := doc["network"].(map[string]any)
	for _, group := range network {
		devices, _ := group.(map[string]any)
		for _, d := range devices {
			if device, ok := d.(map[string]any); ok && device["addresses"] != nil {
				for _, fixed := range []string{"addresses", "gateway4", "gateway6", "nameservers", "routes"} {
					delete(device, fixed)
				}
				device["dhcp4"], changed = true, true
			}
		}
	}
	if !changed {
		return old
	}
	text, err := yaml.Marshal(doc)
	if err != nil {
		return old
	}
	return string(text)
}

// keeps reports whether a fixed address stays.
func (p *planner) keeps(file string) bool {
	return !p.options.DHCP || dhcpEditor(path.Clean(file)) == nil
}
