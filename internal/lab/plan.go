package lab

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/droveway/droveway"
)

// plan is everything about a lab that is known before it is made. Names follow
// from the directory alone, so that nothing can be left that Down cannot find.
type plan struct {
	ID        string       `json:"id"`
	Dir       string       `json:"dir"`
	Binary    string       `json:"binary"`
	LinkRate  int64        `json:"link_rate"` // bits a second
	Uplink    bool         `json:"uplink"`
	HostFlags []string     `json:"host_flags,omitempty"`
	DiskMiB   int64        `json:"disk_mib,omitempty"`
	Hosts     []member     `json:"hosts"`
	Subnet    netip.Prefix `json:"subnet"`
}

// member is somebody on the lab's network.
type member struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
}

const (
	serverName = "server"
	clientName = "client"
	fabricName = "net" // the namespace with the bridge between all
	maxHosts   = 26
)

var (
	underlay      = netip.MustParsePrefix("10.99.0.0/24")
	serverMember  = member{serverName, netip.MustParseAddr("10.99.0.1")}
	clientMember  = member{clientName, netip.MustParseAddr("10.99.0.200")}
	uplinkAddress = netip.MustParseAddr("10.99.0.254")
)

func newPlan(c Config) (plan, error) {
	if c.Hosts < 1 || c.Hosts > maxHosts {
		return plan{}, droveway.Errorf(droveway.Invalid, "a lab of %d hosts: give 1 to %d", c.Hosts, maxHosts)
	}
	if c.LinkRate < 0 {
		return plan{}, droveway.Errorf(droveway.Invalid, "a link rate of %d bits a second: give a positive number, or 0 for no limit", c.LinkRate)
	}
	if c.DiskMiB < 0 {
		return plan{}, droveway.Errorf(droveway.Invalid, "disks of %d MiB: give a positive number, or 0 for none", c.DiskMiB)
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return plan{}, fmt.Errorf("directory of the lab: %w", err)
	}
	binary, err := filepath.Abs(c.Binary)
	if err != nil {
		return plan{}, fmt.Errorf("binary of the lab: %w", err)
	}
	if info, err := os.Stat(binary); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
		return plan{}, droveway.Errorf(droveway.Invalid, "binary %s cannot be run: build it first", binary)
	}
	p := plan{ID: labID(dir), Dir: dir, Binary: binary, LinkRate: c.LinkRate, Uplink: c.Uplink, HostFlags: c.HostFlags, DiskMiB: c.DiskMiB, Subnet: underlay}
	for i := range c.Hosts {
		p.Hosts = append(p.Hosts, member{
			Name:    "host-" + string(rune('a'+i)),
			Address: netip.AddrFrom4([4]byte{10, 99, 0, byte(11 + i)}),
		})
	}
	return p, nil
}

func labID(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return fmt.Sprintf("%x", sum[:3])
}

func prefix(id string) string { return "dwl-" + id }

// namespace is the name of a member's network namespace.
func (p plan) namespace(member string) string { return prefix(p.ID) + "-" + member }

// members are all who have a link into the fabric.
func (p plan) members() []member {
	return append([]member{serverMember, clientMember}, p.Hosts...)
}

func (p plan) host(name string) (member, error) {
	for _, h := range p.Hosts {
		if h.Name == name {
			return h, nil
		}
	}
	return member{}, droveway.Errorf(droveway.NotFound, "the lab in %s has no host %q", p.Dir, name)
}

func (p plan) path(name string) string { return filepath.Join(p.Dir, name) }

func (p plan) adminFile() string { return filepath.Join(p.Dir, serverName, "admin.json") }

const planFile = "lab.json"

func (p plan) save() error {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("note the plan of the lab: %w", err)
	}
	return writeFile(p.path(planFile), b, 0o644)
}

func loadPlan(dir string) (plan, error) {
	b, err := os.ReadFile(filepath.Join(dir, planFile))
	if errors.Is(err, fs.ErrNotExist) {
		return plan{}, droveway.Errorf(droveway.NotFound, "no lab is up in %s", dir)
	}
	if err != nil {
		return plan{}, fmt.Errorf("read the plan of the lab: %w", err)
	}
	var p plan
	if err := json.Unmarshal(b, &p); err != nil {
		return plan{}, droveway.Errorf(droveway.Internal, "%s is damaged: %w", filepath.Join(dir, planFile), err)
	}
	return p, nil
}

// writeFile writes a file so that a reader sees all of it or nothing.
func writeFile(path string, b []byte, mode fs.FileMode) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
