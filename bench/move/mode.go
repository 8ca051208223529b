package main

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// mode is a way to move a running guest and its disk.
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
)

var allModes = []mode{switchFirst, preCopy, virshCopy, virshSync}

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
