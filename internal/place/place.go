// Package place chooses the host of a machine. It is pure: what it knows of the
// fleet is what it is given, and it touches nothing.
package place

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/droveway/droveway"
)

// Need is what a machine needs of a host.
type Need struct {
	CPUs      int
	MemoryMiB int64
	DiskMiB   int64            // of all its disks
	Requires  []string         // capabilities: "key" (has it) or "key=value"
	Host      string           // only here; empty: anywhere
	Not       []string         // never here, such as the host it leaves
	Used      map[string]Usage // of each host by its machines; none: unused
}

// Usage is what the machines of a host have been promised.
type Usage struct {
	MemoryMiB int64
	DiskMiB   int64 // promised, but not taken from the host's free room yet
}

// Choose filters the hosts by need and takes the one with the most free memory;
// of equals the first by name. CPUs are shared among machines, so a machine only
// may not have more of them than its host.
//
// why holds for every host that was not fit the reasons. The error is of kind
// NotFound if need.Host is no host; Unsupported, with the feature, if every host
// that could be meant lacks a required capability; Unavailable, with all reasons,
// if nothing fits for now.
func Choose(hosts []droveway.Host, need Need) (host string, why map[string]string, err error) {
	if need.Host != "" && !slices.ContainsFunc(hosts, func(h droveway.Host) bool { return h.Name == need.Host }) {
		return "", nil, droveway.Errorf(droveway.NotFound, "there is no host %q: droveway host ls lists them", need.Host)
	}
	why = map[string]string{}
	var fit []droveway.Host
	for _, h := range hosts {
		if reasons := need.reasons(h); len(reasons) > 0 {
			why[h.Name] = strings.Join(reasons, "; ")
			continue
		}
		fit = append(fit, h)
	}
	if len(fit) == 0 {
		return "", why, need.nothing(hosts, why)
	}
	return slices.MinFunc(fit, need.better).Name, why, nil
}

// better orders hosts, the best first.
func (n *Need) better(a, b droveway.Host) int {
	if d := n.freeMemory(b) - n.freeMemory(a); d != 0 {
		return int(max(-1, min(1, d)))
	}
	return strings.Compare(a.Name, b.Name)
}

func (n *Need) freeMemory(h droveway.Host) int64 {
	return h.Status.MemoryMiB - n.Used[h.Name].MemoryMiB
}

func (n *Need) freeDisk(h droveway.Host) int64 {
	return h.Status.DiskFreeMiB - n.Used[h.Name].DiskMiB
}

// reasons says why a host is not fit; none: it is.
func (n *Need) reasons(h droveway.Host) (reasons []string) {
	if !n.means(h) {
		return []string{n.unmeant(h)}
	}
	not := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }
	if h.Status.State != droveway.HostReady {
		not("is %s, not ready", h.Status.State)
	}
	if h.Spec.Cordoned {
		not("is cordoned")
	}
	if missing := n.lacks(h); len(missing) > 0 {
		not("lacks %s", strings.Join(worded(h, missing), ", "))
	}
	if known(h) {
		n.room(h, not)
	}
	return reasons
}

// room says what a host has too little of.
func (n *Need) room(h droveway.Host, not func(string, ...any)) {
	if h.Status.CPUs < n.CPUs {
		not("has %d CPUs, %d are needed", h.Status.CPUs, n.CPUs)
	}
	if free := n.freeMemory(h); n.MemoryMiB > 0 && free < n.MemoryMiB {
		not("has %d MiB of memory free, %d are needed", free, n.MemoryMiB)
	}
	if free := n.freeDisk(h); n.DiskMiB > 0 && free < n.DiskMiB {
		not("has %d MiB of disk free, %d are needed", free, n.DiskMiB)
	}
}

// Room refuses a host that has too little room, whatever else is to be said of
// it: for a machine that is there already and wants more. What is zero is not
// asked for. The error is of kind Unavailable, or Unsupported for a capability.
func (n *Need) Room(h droveway.Host) error {
	if missing := n.lacks(h); len(missing) > 0 {
		return droveway.Missing(missing[0], "host %s lacks %s", h.Name, strings.Join(worded(h, missing), ", "))
	}
	var reasons []string
	n.room(h, func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) })
	if len(reasons) == 0 {
		return nil
	}
	return droveway.Errorf(droveway.Unavailable, "host %s %s", h.Name, strings.Join(reasons, "; "))
}

// means reports whether the caller left the host to choose.
func (n *Need) means(h droveway.Host) bool {
	return (n.Host == "" || n.Host == h.Name) && !slices.Contains(n.Not, h.Name)
}

func (n *Need) unmeant(h droveway.Host) string {
	if slices.Contains(n.Not, h.Name) {
		return "is the one it leaves"
	}
	return "is not " + n.Host + ", the only host allowed"
}

// known reports whether a host has ever told about itself.
func known(h droveway.Host) bool { return h.Status.State != droveway.HostJoined }

// lacks gives the requirements that a host does not meet, in the order asked
// for. Of a host that never told about itself nothing is known to lack.
func (n *Need) lacks(h droveway.Host) (missing []string) {
	if !known(h) {
		return nil
	}
	for _, r := range n.Requires {
		if !has(h.Status.Capabilities, r) {
			missing = append(missing, r)
		}
	}
	return missing
}

// has reports whether capabilities meet a requirement.
func has(capabilities map[string]string, requirement string) bool {
	key, want, exact := strings.Cut(requirement, "=")
	value := capabilities[key]
	if exact {
		return value == want
	}
	return value != "" && value != "no" && !strings.HasPrefix(value, "no:")
}

// nothing is the error for when no host is fit.
func (n *Need) nothing(hosts []droveway.Host, why map[string]string) error {
	if missing := n.missing(hosts); missing != "" {
		return droveway.Missing(missing, "no host has %s:%s%s", missing, list(why), n.advice(hosts, missing))
	}
	if len(hosts) == 0 {
		return droveway.Errorf(droveway.Unavailable, "there are no hosts: add one with droveway host")
	}
	return droveway.Errorf(droveway.Unavailable, "no host fits now:%s", list(why))
}

// missing gives the requirements that keep every host away that could be meant,
// empty if there is none such. Those that all lack are the ones to tell.
func (n *Need) missing(hosts []droveway.Host) string {
	count := map[string]int{}
	candidates := 0
	for _, h := range hosts {
		if !n.means(h) {
			continue
		}
		candidates++
		lacks := n.lacks(h)
		if len(lacks) == 0 {
			return ""
		}
		for _, r := range lacks {
			count[r]++
		}
	}
	return n.pick(count, candidates)
}

// pick gives the first requirement that all candidates lack, else all those that
// some lack.
func (n *Need) pick(count map[string]int, candidates int) string {
	var some []string
	for _, r := range n.Requires {
		if candidates > 0 && count[r] == candidates {
			return r
		}
		if count[r] > 0 {
			some = append(some, r)
		}
	}
	return strings.Join(some, ", ")
}

// list writes reasons by host name.
func list(why map[string]string) string {
	names := slices.Sorted(maps.Keys(why))
	var b strings.Builder
	for i, name := range names {
		if i > 0 {
			b.WriteString(";")
		}
		fmt.Fprintf(&b, " %s %s", name, why[name])
	}
	return b.String()
}
