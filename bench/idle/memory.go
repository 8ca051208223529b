package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"github.com/droveway/droveway"
)

// residentKiB is how much memory of a process is in use: VmRSS of proc(5).
func residentKiB(pid int) (int64, error) {
	if pid == 0 {
		return 0, droveway.Errorf(droveway.Unavailable, "a role of the lab runs no more")
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	return parseResident(text)
}

func parseResident(status []byte) (int64, error) {
	for line := range bytes.Lines(status) {
		value, ok := bytes.CutPrefix(line, []byte("VmRSS:"))
		if !ok {
			continue
		}
		fields := bytes.Fields(value)
		if len(fields) != 2 || string(fields[1]) != "kB" {
			break
		}
		return strconv.ParseInt(string(fields[0]), 10, 64)
	}
	return 0, droveway.Errorf(droveway.Internal, "a process tells no VmRSS")
}
