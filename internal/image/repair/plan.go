package repair

import (
	"path"
	"slices"

	"github.com/droveway/droveway/internal/image/filesystem"
	"github.com/droveway/droveway/internal/image/identify"
	"github.com/droveway/droveway/internal/image/inspect"
)

// Level is how much a finding matters.
type Level string

// The levels.
const (
	Warning Level = "warning" // works, but not all of it
	Blocker Level = "blocker" // will not work
)

// Finding is something that the user must know before anything is copied.
type Finding struct {
	Level  Level  `json:"level"`
	What   string `json:"what"`
	Why    string `json:"why"`
	Advice string `json:"advice,omitempty"`
}

// Plan is what a repair would do, step by step, and what it cannot do.
type Plan struct {
	Family   string    `json:"family,omitempty"` // of the system: which recipes serve
	Findings []Finding `json:"findings"`
	Steps    []Step    `json:"steps"`
}

// Blocked reports whether something will not work.
func (p *Plan) Blocked() bool {
	for _, f := range p.Findings {
		if f.Level == Blocker {
			return true
		}
	}
	return false
}

// Needed reports whether the guest would not run here without some of the steps: not
// find its disk, or its boot loader, or wait for disks that are elsewhere. The others
// make it better, and are no reason to touch an image that is made for virtio. What was
// asked for by name, as DHCP, is needed too.
func (p *Plan) Needed() bool {
	for _, s := range p.Steps {
		switch s.Name {
		case "fstab", "crypttab", "initramfs", "uefi-fallback", "driver", "dhcp":
			return true
		case "loader":
			for _, f := range s.Files {
				if len(rootOption.FindAllString(f.Text, -1)) < len(rootOption.FindAllString(f.Old, -1)) {
					return true
				}
			}
		}
	}
	return false
}

// Programs are those of the guest that a step runs. With full they run even where
// writing files is enough.
func (s *Step) Programs(full bool) [][]string {
	if s.Enough && !full {
		return nil
	}
	return s.Run
}

// Step is one change: files first, then the registry, then programs of the guest,
// which run with its disk mounted and its root as theirs.
type Step struct {
	Name     string     `json:"name"`
	What     string     `json:"what"`
	Why      string     `json:"why"`
	Files    []File     `json:"files,omitempty"`
	Registry []Entry    `json:"registry,omitempty"` // of the hive SYSTEM
	Software []Entry    `json:"software,omitempty"` // of the hive SOFTWARE
	Run      [][]string `json:"run,omitempty"`

	// Enough says that the guest boots once the files are written: what Run adds is
	// the same, made by the guest's own programs.
	Enough bool     `json:"enough,omitempty"`
	Makes  []string `json:"makes,omitempty"` // files that Run makes anew
}

// Beside is what is appended to the name of the original that is kept.
const Beside = ".droveway-orig"

// wholeDirectories are those of which programs read every file, whatever its name.
var wholeDirectories = []string{"/etc/network/interfaces.d", "/etc/NetworkManager/system-connections", "/etc/sysconfig/network-scripts", "/etc/sysconfig/network"}

// Kept is the name under which the original of a file is kept. In directories that
// are read as a whole it is hidden.
func Kept(file string) string {
	dir, name := path.Split(file)
	if slices.Contains(wholeDirectories, path.Clean(dir)) {
		name = "." + name
	}
	return dir + name + Beside
}

// File is a file that is written. Exactly one of Text, Link, From, Append and Data says
// what it is.
type File struct {
	Path string `json:"path"`
	Was  string `json:"was,omitempty"`  // SHA-256; empty: there is none yet
	Old  string `json:"old,omitempty"`  // contents, if Text replaces them
	Text string `json:"text,omitempty"` // ${mac1} is the address of the machine's first card
	Link string `json:"link,omitempty"` // a symbolic link to there
	From string `json:"from,omitempty"` // a copy of this file of the guest, or behind FromVirtioWin of that disc

	// Append is for an initramfs: it stays as it is, and an archive of these files
	// of the guest follows it.
	Append []string `json:"append,omitempty"`

	// Data is what From has led to, where whoever writes the file cannot read that. No
	// plan has it.
	Data []byte `json:"data,omitempty"`
}

// planner is the making of one plan.
type planner struct {
	*recipes
	options Options
	r       *inspect.Report
	t       *filesystem.Tree // nil: no system was found
	plan    *Plan
	text    map[string]string // of files that were changed already
}

// Options are what a plan is to do beside what is needed.
type Options struct {
	DHCP bool // give up fixed addresses

	VirtioWin *VirtioWin // drivers for a Windows; nil: there are none
	Promised  bool       // there will be some, whose names are not known yet
}

// Make makes the plan for an image that was inspected. The tree is that of its
// system, and nil if none was found.
func Make(r *inspect.Report, t *filesystem.Tree) (*Plan, error) { return MakeWith(r, t, Options{}) }

// MakeWith is Make with options.
func MakeWith(r *inspect.Report, t *filesystem.Tree, o Options) (*Plan, error) {
	known, err := load()
	if err != nil {
		return nil, err
	}
	p := &planner{recipes: known, options: o, r: r, t: t, plan: &Plan{Findings: []Finding{}, Steps: []Step{}}, text: map[string]string{}}
	p.checkOS()
	p.checkVolumes()
	if t == nil {
		return p.plan, nil
	}
	p.checkMachine()
	if r.OS.Status == identify.Identified || r.OS.Distro != "" {
		p.plan.Family = p.familyOf(r.OS.Distro)
	}
	if p.plan.Family == "windows" {
		p.windowsPlan()
	} else {
		p.unixPlan()
	}
	p.checkDisks()
	return p.plan, nil
}

func (p *planner) find(level Level, what, why, advice string) {
	p.plan.Findings = append(p.plan.Findings, Finding{level, what, why, advice})
}

func (p *planner) step(s Step) {
	p.plan.Steps = append(p.plan.Steps, s)
}

// unixPlan says what is changed in Linux and its like. A system that is not known
// is left as it is.
func (p *planner) unixPlan() {
	p.checkDrivers()
	p.checkMounts()
	p.checkAddresses()
	if p.r.OS.Status != identify.Identified || p.plan.Family == "" || p.plan.Family == "freebsd" {
		return
	}
	p.mounts()
	p.mapped()
	p.dhcp()
	p.cards()
	p.tools()
	p.loader()
	p.fallback()
	p.initramfs() // late: one that is made anew takes files from what is there
	p.relabel()
}
