package main

import (
	"encoding/xml"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway"
)

func TestResumedIsFoundAmongOtherEvents(t *testing.T) {
	t.Parallel()
	got, err := resumed(`2026-03-01 10:00:00.000+0000: event 'lifecycle' for domain 'other': Resumed Migrated
2026-03-01 10:00:01.000+0000: event 'lifecycle' for domain 'bench': Started Migrated
2026-03-01 10:00:02.345+0000: event 'lifecycle' for domain 'bench': Resumed Migrated
events received: 3
`)
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 3, 1, 10, 0, 2, 345e6, time.UTC); !got.Equal(want) {
		t.Errorf("%v: want %v", got, want)
	}
	if _, err := resumed("events received: 0\n"); err == nil {
		t.Error("a guest that never ran has a time")
	}
}

func TestTotalDowntime(t *testing.T) {
	t.Parallel()
	got, err := totalDowntime("Job type:         Completed   \nTime elapsed:     2871         ms\nTotal downtime:   173          ms\nDowntime w/o network: 170      ms\n")
	if err != nil || got != 173 {
		t.Errorf("%v, %v: want 173 ms", got, err)
	}
	if _, err := totalDowntime("Job type: None\n"); err == nil {
		t.Error("no job has a downtime")
	}
}

func TestDomainHasTheMemoryOfTheOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		setting setting
		want    string
	}{
		{setting{Accelerator: "tcg", QEMU: "7.2.22"}, "262152"},
		{setting{Accelerator: "tcg", QEMU: "10.0.2"}, "262144"},
		{setting{Accelerator: "kvm", QEMU: "7.2.22"}, "262144"},
	} {
		d := domain{bed: &bed{setting: c.setting, network: droveway.Network{VNI: 4242}}, guest: &plain{sizeMiB: 64}}
		var parsed struct {
			Type   string `xml:"type,attr"`
			Memory string `xml:"memory"`
		}
		if err := xml.NewDecoder(strings.NewReader(d.xml())).Decode(&parsed); err != nil {
			t.Fatal(err)
		}
		if parsed.Memory != c.want {
			t.Errorf("%+v: %s KiB: want %s", c.setting, parsed.Memory, c.want)
		}
	}
}
