package machine

import (
	"testing"

	"github.com/droveway/droveway"
)

// TestFirmware has a machine get the firmware that its image needs, unless another one
// was asked for, and go to a host that has it.
func TestFirmware(t *testing.T) {
	t.Parallel()
	js := startStore(t)
	for name, k := range map[string]struct {
		image       string
		asked, want droveway.Firmware
		host        string
	}{
		"of the image": {"modern", "", droveway.UEFI, "b"},
		"asked for":    {"modern", droveway.BIOS, droveway.BIOS, "a"},
		"uefi":         {"tiny", droveway.UEFI, droveway.UEFI, "b"},
		"none":         {"tiny", "", "", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, js)
			fill(t, f, "a", "b")
			_, err := f.Hosts.Update(t.Context(), "b", func(h *droveway.Host) error {
				h.Status.Capabilities = map[string]string{droveway.UEFICapability: "yes"}
				h.Status.MemoryMiB /= 2 // the other one is better
				return nil
			})
			must(t, err)
			c := newController(f, newFakeHosts())
			m := web(true)
			m.Spec.Disks[0].Image, m.Spec.Firmware = k.image, k.asked
			m, err = c.complete(t.Context(), m)
			must(t, err)
			host, err := c.choose(t.Context(), &m)
			must(t, err)
			i, err := Instance(t.Context(), f, m, 1)
			must(t, err)
			if m.Spec.Firmware != k.want || host != k.host || i.Firmware != k.want {
				t.Errorf("firmware %q on host %s, which is told %q", m.Spec.Firmware, host, i.Firmware)
			}
		})
	}
}
