package daemon_test

import (
	"context"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/daemon"
	"github.com/droveway/droveway/internal/daemon/daemontest"
)

// A probe joins with a token of its own role, reports without any privileges, and
// comes back under its identity without the token.
func TestProbe(t *testing.T) {
	t.Parallel()
	f := daemontest.New(t)
	cfg := daemon.ProbeConfig{Member: f.HostConfig("web-1", f.Token()).Member, Site: "west", Source: "proc"}
	if err := daemon.Probe(context.Background(), cfg); !droveway.Is(err, droveway.Permission) {
		t.Errorf("with the token of a host: %v", err)
	}
	api := f.Client()
	defer api.Close()
	token, err := api.CreateToken(context.Background(), client.TokenRequest{Role: "probe"})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Token = token.Token
	for range 2 {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		before := last(t, f)
		go func() { ended <- daemon.Probe(ctx, cfg) }()
		f.Await("the probe reports", func(ctx context.Context, c *client.Client) bool {
			all, err := c.Probes(ctx)
			return err == nil && len(all) == 1 && all[0].Site == "west" && all[0].Last.After(before.Last) && all[0].Source != ""
		})
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		cfg.Token = ""
	}
}

// last is the probe as the server knows it.
func last(t *testing.T, f *daemontest.Fleet) (p client.Probe) {
	t.Helper()
	c := f.Client()
	defer c.Close()
	all, err := c.Probes(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) > 0 {
		p = all[0]
	}
	return p
}
