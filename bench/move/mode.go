package main

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// mode is a way to bring a running guest and its disk to another host.
type mode string

const (
	// switchFirst is Droveway's: memory, then the guest runs on the target,
	// then the disk.
	switchFirst mode = "switch-first"
	// preCopy is what QEMU offers by itself: disk, memory, then the guest runs
	// on the target.
	preCopy mode = "pre-copy"
	// virshCopy is the same by virsh migrate --copy-storage-all.
	virshCopy mode = "virsh-copy-storage-all"
	// virshSync has the guest's writes wait for both copies besides
	// (--copy-storage-synchronous-writes).
	virshSync mode = "virsh-sync-writes"
	// quickRestart is droveway machine restart: the guest boots at its new
	// place, and its disk follows.
	quickRestart mode = "restart"
	// copyRestart is what an operator does: stop the guest, copy its disk, start
	// it at its new place.
	copyRestart mode = "stop-copy-start"
)

var (
	allModes     = []mode{switchFirst, preCopy, virshCopy, virshSync, quickRestart, copyRestart}
	libvirtModes = []mode{virshCopy, virshSync, copyRestart}
)

// restarts tells whether the guest boots anew on the way.
func (m mode) restarts() bool { return m == quickRestart || m == copyRestart }

// possibleModes are those for which the programs are there.
func possibleModes() []mode {
	if libvirtInstalled() {
		return allModes
	}
	return slices.DeleteFunc(slices.Clone(allModes), func(m mode) bool { return slices.Contains(libvirtModes, m) })
}

func parseModes(s string) (modes []mode, err error) {
	for part := range strings.SplitSeq(s, ",") {
		if !slices.Contains(allModes, mode(part)) {
			return nil, fmt.Errorf("mode %q: give some of %s", part, names(allModes))
		}
		modes = append(modes, mode(part))
	}
	return modes, nil
}

func names(modes []mode) string {
	all := make([]string, len(modes))
	for i, m := range modes {
		all[i] = string(m)
	}
	return strings.Join(all, ",")
}

func libvirtInstalled() bool {
	for _, program := range []string{"libvirtd", "virsh"} {
		if _, err := exec.LookPath(program); err != nil {
			return false
		}
	}
	return true
}
