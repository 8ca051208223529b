//go:build lab

package probe

import (
	"net/netip"
	"testing"

	"github.com/droveway/droveway/internal/discover"
	"github.com/droveway/droveway/internal/discover/probe/probetest"
)

// Where a probe is on the machines that translate, each tells its step of a
// connection: what was open before the probe, and what comes after.
func TestTranslatorsTell(t *testing.T) {
	n := probetest.New(t)
	n.Server("b1", "tcp/:80", "udp/:53")
	for _, box := range []string{"ra", "rb"} {
		n.Server(box) // a process is what makes a namespace known
	}
	c := n.Client("a1")
	before := c.Dial("tcp", probetest.Forward, true)
	_, s, _ := begin(t, Config{})
	all := map[string]probetest.Truth{"tcp before": before, "tcp": c.Dial("tcp", probetest.Forward, false), "udp": c.Dial("udp", probetest.Datagram, true)}
	served := map[string]string{"tcp before": "10.2.0.11:80", "tcp": "10.2.0.11:80", "udp": "10.2.0.11:53"}
	for what, truth := range all {
		s.until(what, func() bool {
			masked, ok := s.step(truth.Local, truth.Dialled)
			if !ok || masked.NewSource.Addr() != netip.MustParseAddr("203.0.113.1") || masked.NewDestination != truth.Dialled {
				return false
			}
			forwarded, ok := s.step(masked.NewSource, truth.Dialled)
			return ok && forwarded.NewSource == masked.NewSource && forwarded.NewDestination.String() == served[what]
		})
	}
}

// step finds what a box makes of a connection.
func (s *server) step(from, to netip.AddrPort) (discover.Translation, bool) {
	for t := range s.steps {
		if t.Source == from && t.Destination == to {
			return t, true
		}
	}
	return discover.Translation{}, false
}
