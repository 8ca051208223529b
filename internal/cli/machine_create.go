package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

// fileMax bounds a description of a machine, in bytes.
const fileMax = 1 << 20

// createFlags describe a new machine.
type createFlags struct {
	job      jobFlags
	file     string
	spec     droveway.MachineSpec
	image    string
	from     fromFlags
	disks    []string
	networks []string
	keyFiles []string
	userData string
	stopped  bool
}

const createExample = `  droveway machine create web-1 --image debian-12 --cpus 2 --memory 2G --ssh-key ~/.ssh/id_ed25519.pub --wait
  droveway machine create db-1 --disk name=root,image=debian-12,size=20G --disk name=data,size=100G
  droveway machine create web-2 -f web-2.yaml
  droveway machine create web-3 --image-from https://example.org/web.vmdk --switch-first --wait`

func machineCreate(a *app) *cobra.Command {
	f := &createFlags{spec: droveway.MachineSpec{CPUs: 1, MemoryMiB: 1024}}
	c := a.verb("create NAME", "Create a machine, and start it", nil, func(r run) error {
		m, err := a.newMachine(r, f)
		if err != nil {
			return err
		}
		if err := f.from.offer(r.ctx, a, r.api, &m.Spec); err != nil {
			return err
		}
		j, err := r.api.CreateMachine(r.ctx, client.MachineRequest{Name: m.Name, Spec: m.Spec}, client.Request(f.job.request))
		if err != nil {
			return err
		}
		return a.finish(r.ctx, r.api, j, &f.job, func(j droveway.Job) string { return a.created(r, m.Name) + filled(j) })
	})
	c.Example = createExample
	f.add(a, c)
	return c
}

func (f *createFlags) add(a *app, c *cobra.Command) {
	f.job.add(c)
	f.from.add(c)
	fs := c.Flags()
	fs.StringVarP(&f.file, "file", "f", "", "read the machine from a YAML or JSON `file` (-: standard input); other flags add to it")
	fs.IntVar(&f.spec.CPUs, "cpus", f.spec.CPUs, "number of CPUs")
	fs.StringVar((*string)(&f.spec.CPU), "cpu", "", "`CPU` that the guest sees: baseline (what all hosts give, so that it can move to each), host, x86-64-v1 to x86-64-v4, or a model of the hypervisor; +FLAG adds one (default baseline)")
	fs.Var(sizeValue{&f.spec.MemoryMiB}, "memory", "memory, as 512M or 2G")
	AddChoice(c, &f.spec.Firmware, "firmware", "bios or uefi (default: what the image of its first disk needs)", droveway.BIOS, droveway.UEFI)
	fs.StringVar(&f.image, "image", "", "image of the root disk")
	fs.StringArrayVar(&f.disks, "disk", nil, "a `disk`, as name=root,image=debian-12,size=20G,format=raw (format raw or qcow2); repeat it for more")
	fs.StringArrayVar(&f.networks, "network", nil, "a `network` to be on, as NAME or name=NAME,address=10.20.0.50,mac=…; repeat it for more")
	fs.StringArrayVar(&f.keyFiles, "ssh-key", nil, "`file` with SSH public keys for the guest's default user; repeat it for more")
	fs.StringVar(&f.userData, "user-data", "", "`file` with cloud-init user data")
	fs.StringVar(&f.spec.Host, "host", "", "run on this host and no other")
	fs.StringArrayVar(&f.spec.Requires, "requires", nil, "`capability` that its host must have, as kvm or accelerator=kvm; repeat it for more")
	fs.BoolVar(&f.stopped, "stopped", false, "do not start it")
	_ = c.RegisterFlagCompletionFunc("image", a.imageNames())
	_ = c.RegisterFlagCompletionFunc("network", a.networkNames())
	_ = c.RegisterFlagCompletionFunc("host", a.hostNames())
}

// newMachine is the machine of the file, if there is one, with the flags that
// were given laid over it.
func (a *app) newMachine(r run, f *createFlags) (droveway.Machine, error) {
	m := droveway.Machine{Spec: f.spec}
	m.Spec.Running = true
	if f.file != "" {
		var err error
		if m, err = a.machineFile(f.file); err != nil {
			return m, err
		}
		f.overlay(r.cmd, &m.Spec)
	}
	m.Name = r.args[0]
	if slices.Contains(f.spec.Requires, "") {
		return m, droveway.Errorf(droveway.Invalid, "--requires: name a capability, as kvm: droveway host show HOST lists those of a host")
	}
	if f.stopped {
		m.Spec.Running = false
	}
	if err := f.fill(&m.Spec); err != nil {
		return m, err
	}
	if len(m.Spec.Disks) == 0 {
		return m, droveway.Errorf(droveway.Invalid, "machine %s has 0 disks: give --image, --disk or --image-from", m.Name)
	}
	return m, m.Validate()
}

// overlay takes over the simple flags that were given.
func (f *createFlags) overlay(c *cobra.Command, s *droveway.MachineSpec) {
	for name, take := range map[string]func(){
		"cpus":     func() { s.CPUs = f.spec.CPUs },
		"cpu":      func() { s.CPU = f.spec.CPU },
		"firmware": func() { s.Firmware = f.spec.Firmware },
		"memory":   func() { s.MemoryMiB = f.spec.MemoryMiB },
		"host":     func() { s.Host = f.spec.Host },
		"requires": func() { s.Requires = f.spec.Requires },
	} {
		if c.Flags().Changed(name) {
			take()
		}
	}
}

// fill adds what the flags with values of their own describe.
func (f *createFlags) fill(s *droveway.MachineSpec) error {
	for _, text := range f.disks {
		d, err := parseDisk(text)
		if err != nil {
			return err
		}
		s.Disks = append(s.Disks, d)
	}
	if err := f.from.check(f.image); err != nil {
		return err
	}
	if f.image != "" {
		s.Disks = withRoot(s.Disks, f.image)
	}
	s.Disks = f.from.root(s.Disks)
	for _, text := range f.networks {
		n, err := parseNIC(text)
		if err != nil {
			return err
		}
		s.NICs = append(s.NICs, n)
	}
	return f.readFiles(s)
}

func (f *createFlags) readFiles(s *droveway.MachineSpec) error {
	for _, path := range f.keyFiles {
		keys, err := readKeys(path)
		if err != nil {
			return err
		}
		s.SSHKeys = append(s.SSHKeys, keys...)
	}
	if f.userData == "" {
		return nil
	}
	raw, err := os.ReadFile(f.userData)
	if err != nil {
		return droveway.Errorf(droveway.Invalid, "read the user data: %w", err)
	}
	s.UserData = string(raw)
	return nil
}

const rootDisk = "root"

// withRoot gives the root disk an image, and makes one if there is none.
func withRoot(disks []droveway.Disk, image string) []droveway.Disk {
	for i := range disks {
		if disks[i].Name == rootDisk {
			disks[i].Image = image
			return disks
		}
	}
	return append([]droveway.Disk{{Name: rootDisk, Image: image, Format: droveway.Raw}}, disks...)
}

func readKeys(path string) ([]string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "read SSH keys: %w", err)
	}
	var keys []string
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			keys = append(keys, line)
		}
	}
	if len(keys) == 0 || !slices.ContainsFunc(keys, isPublicKey) || strings.Contains(string(raw), "PRIVATE KEY") {
		return nil, droveway.Errorf(droveway.Invalid, "%s holds no SSH public key: give the .pub file", path)
	}
	return keys, nil
}

// publicKey is a line of authorized_keys (sshd(8)): options perhaps, the type of a
// key, and the key.
var publicKey = regexp.MustCompile(`(^|[ ,])(ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+ +AAAA`)

func isPublicKey(line string) bool { return publicKey.MatchString(line) }

// parseDisk reads name=…,image=…,size=…,format=….
func parseDisk(text string) (droveway.Disk, error) {
	d := droveway.Disk{Name: "root", Format: droveway.Raw}
	err := parsePairs("--disk", text, map[string]func(string) error{
		"name":   func(v string) error { d.Name = v; return nil },
		"image":  func(v string) error { d.Image = v; return nil },
		"format": func(v string) error { d.Format = droveway.Format(v); return d.Format.Validate() },
		"size":   func(v string) (err error) { d.SizeMiB, err = parseMiB(v); return err },
	})
	return d, err
}

// parseNIC reads a network's name, or name=…,address=…,mac=….
func parseNIC(text string) (droveway.NIC, error) {
	if !strings.Contains(text, "=") {
		return droveway.NIC{Network: text}, nil
	}
	var n droveway.NIC
	err := parsePairs("--network", text, map[string]func(string) error{
		"name": func(v string) error { n.Network = v; return nil },
		"mac":  func(v string) error { n.MAC = v; return nil },
		"address": func(v string) (err error) {
			if n.Address, err = netip.ParseAddr(v); err != nil {
				err = droveway.Errorf(droveway.Invalid, "%q is no IP address", v)
			}
			return err
		},
	})
	return n, err
}

// parsePairs reads key=value,key=value; each key has its own way to take the
// value.
func parsePairs(flag, text string, keys map[string]func(string) error) error {
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		take := keys[key]
		if !ok || take == nil {
			return droveway.Errorf(droveway.Invalid, "%s %q: %q is not one of its keys with a value: give %s, each as KEY=VALUE", flag, text, pair, alternatives(slices.Sorted(maps.Keys(keys))))
		}
		if err := take(value); err != nil {
			return droveway.Errorf(droveway.Invalid, "%s %q: %w", flag, text, err)
		}
	}
	return nil
}

// open opens a file, or standard input for -.
func (a *app) open(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(a.env.In), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, droveway.Errorf(droveway.Invalid, "open the file: %w", err)
	}
	return f, nil
}

// machineFile reads a machine as machine show prints it; what the server sets
// is left out of account.
func (a *app) machineFile(path string) (droveway.Machine, error) {
	m := droveway.Machine{Spec: droveway.MachineSpec{CPUs: 1, MemoryMiB: 1024, Running: true}}
	from, err := a.open(path)
	if err != nil {
		return m, err
	}
	defer from.Close()
	raw, err := io.ReadAll(io.LimitReader(from, fileMax))
	if err == nil {
		raw, err = yaml.YAMLToJSON(raw)
	}
	if err != nil {
		return m, droveway.Errorf(droveway.Invalid, "read the machine in %s: %w", path, err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return m, droveway.Errorf(droveway.Invalid, "read the machine in %s: %w", path, err)
	}
	return m, nil
}

// created says where the new machine is.
func (a *app) created(r run, name string) string {
	m, err := r.api.Machine(context.WithoutCancel(r.ctx), name)
	if err != nil {
		return "machine " + name + " created"
	}
	return strings.TrimSpace("machine " + name + " is " + string(m.Status.State) + " on " + m.Status.Host + " " + addresses(m))
}
