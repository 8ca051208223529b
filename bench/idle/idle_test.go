package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/droveway/droveway/bench/verdict"
)

func TestResident(t *testing.T) {
	t.Parallel()
	got, err := parseResident([]byte("Name:\tdroveway\nVmHWM:\t   50000 kB\nVmRSS:\t   40960 kB\nThreads:\t9\n"))
	if err != nil || got != 40960 {
		t.Errorf("%d, %v: want 40960", got, err)
	}
	for _, bad := range []string{"", "VmRSS:\n", "VmRSS: x kB\n", "Name: x\n"} {
		if n, err := parseResident([]byte(bad)); err == nil {
			t.Errorf("%q gives %d", bad, n)
		}
	}
}

func TestBars(t *testing.T) {
	t.Parallel()
	r := report{ServerKiB: 80 << 10, HostKiB: 50<<10 + 1, FullServerKiB: 1, Machines: 100, ListP50: 3, ListP99: 101, ReadyFirst: 1999, ReadyAgain: 2}
	r.Bars = judge(r)
	if verdict.Met(r.Bars) {
		t.Error("two bars are missed")
	}
	var b bytes.Buffer
	if err := r.print(&b); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(b.String(), "FAIL"); got != 2 {
		t.Errorf("%d bars are missed: want 2 in\n%s", got, b.String())
	}
	r.HostKiB, r.ListP99 = 50<<10, 100
	if !verdict.Met(judge(r)) {
		t.Error("what is just reached counts as missed")
	}
}
