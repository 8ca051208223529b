package daemon

import (
	"net/netip"
	"testing"
)

// No pattern goes to the bus over which the probe reports.
func TestBusTargets(t *testing.T) {
	t.Parallel()
	all := busTargets(t.Context(), "tls://127.0.0.1:7422,tls://[::1]:7423,tls://nowhere.invalid:1,:")
	covered := func(s string) bool {
		for _, target := range all {
			if target.Covers(netip.MustParseAddrPort(s)) {
				return true
			}
		}
		return false
	}
	for address, want := range map[string]bool{"127.0.0.1:7422": true, "[::1]:7423": true, "127.0.0.1:7423": false, "127.0.0.2:7422": false} {
		if covered(address) != want {
			t.Errorf("%s: covered %t by %v", address, !want, all)
		}
	}
}
