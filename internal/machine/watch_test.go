package machine

import (
	"testing"
	"time"

	"github.com/droveway/droveway"
)

// A job that is stuck tries again when a host is back, or its agent was started anew.
func TestStuckJobsHearOfHosts(t *testing.T) {
	t.Parallel()
	k := newControl(t)
	k.run()
	expire := k.join("a", "192.0.2.1")
	k.waitHost("a", droveway.HostReady)
	expire()
	k.waitHost("a", droveway.HostUnknown)
	for what, change := range map[string]func(){
		"the host is back": func() { k.beat("a") },
		"its agent was started anew": func() {
			must(t, observe(t.Context(), k.js, "a."+reportName, droveway.HostStatus{Address: "192.0.2.1", Started: time.Now()}))
		},
	} {
		changes := k.cfg.Jobs.Changes()
		change()
		select {
		case <-changes:
		case <-time.After(patience):
			t.Errorf("the jobs were not told: %s", what)
		}
	}
}
