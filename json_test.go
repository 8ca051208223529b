package droveway

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var (
	noon   = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)
	values = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})
)

// through is v as the store and the API pass it on.
func through[T any](t *testing.T, v T) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var back T
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	if d := cmp.Diff(v, back, values); d != "" {
		t.Errorf("%T: %s", v, d)
	}
}

func TestNounsSurviveJSON(t *testing.T) {
	t.Parallel()
	meta := Meta{Name: "web-1", Created: noon}
	full := *machine()
	full.Created = noon
	full.Spec.NICs = []NIC{{Network: "default", MAC: "52:54:00:00:00:01", Address: netip.MustParseAddr("10.20.0.10")}, {Network: "other"}}
	full.Spec.Running, full.Spec.Host, full.Spec.Requires = true, "a", []string{"kvm", "accelerator=kvm"}
	full.Spec.SSHKeys, full.Spec.UserData = []string{"ssh-ed25519 AAAA me"}, "#cloud-config\n"
	full.Status = MachineStatus{State: MachineRunning, Host: "a", Token: 1<<63 + 1, Job: "job-1", Reserved: "b", Message: "why", Since: noon}
	through(t, full)
	through(t, Machine{})
	through(t, Host{Meta: meta, Spec: HostSpec{Cordoned: true}, Status: HostStatus{
		State: HostUnknown, Since: noon, Address: "192.0.2.1", Capabilities: map[string]string{"kvm": "yes"}, CPUs: 8, MemoryMiB: 4096, DiskFreeMiB: 1 << 40, Version: "1", Started: noon,
		Held: []HeldMachine{{Machine: "web-1", Since: noon, Message: "why"}},
	}})
	through(t, Host{})
	through(t, Volume{Name: "web-1.root", Host: "a", Format: QCOW2, SizeMiB: 4, State: VolumeHydrating})
	through(t, Image{Meta: meta, Format: Raw, Size: 1 << 40, Bytes: 7, SHA256: strings.Repeat("0", 64), State: ImageFetching, Updated: noon})
	through(t, Network{Meta: meta, Subnet: netip.MustParsePrefix("10.20.0.0/16"), VNI: 4242})
	through(t, Network{})
	through(t, Job{
		Meta: meta, Kind: "machine-move", Subject: "machine/web-1", State: JobRunning, Step: "memory", Steps: []string{"reserve", "memory"}, Done: []string{"reserve"},
		Progress: &Progress{Done: 1, Total: 2, Rate: 3, Remaining: 4}, Error: "e", Retry: "r", Waits: "w", Stuck: noon, Args: json.RawMessage(`{"to":"b"}`), Result: json.RawMessage(`[1]`),
		Cancel: true, Updated: noon, Ended: noon,
	})
	through(t, Event{ID: "1", Time: noon, Type: "machine.running", Subject: "machine/web-1", Source: "host/a", Data: json.RawMessage(`{"x":1}`)})
}

// What is not there is left out, so that an object shows only what it has.
func TestZeroesAreLeftOut(t *testing.T) {
	t.Parallel()
	for want, v := range map[string]any{
		`{"network":"default"}`:                          NIC{Network: "default"},
		`{"state":"pending"}`:                            MachineStatus{State: MachinePending},
		`{"name":"root","size_mib":1,"format":"raw"}`:    Disk{Name: "root", SizeMiB: 1, Format: Raw},
		`{"done":1,"total":2,"rate":3,"remaining_ms":4}`: Progress{1, 2, 3, 4},
	} {
		b, err := json.Marshal(v)
		if err != nil || string(b) != want {
			t.Errorf("%s, %v; want %s", b, err, want)
		}
	}
}
