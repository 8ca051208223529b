package mem_test

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/hypervisor/hypervisortest"
	"github.com/droveway/droveway/internal/hypervisor/mem"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "8") // the suite waits more than it works
	goleak.VerifyTestMain(m)
}

func TestSuite(t *testing.T) {
	d := mem.New()
	hypervisortest.Run(t, hypervisortest.Env{
		New:    func(*testing.T) hypervisor.Driver { return d },
		Format: droveway.Raw,
		Create: func(t *testing.T, path string, content []byte) {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		Content: func(t *testing.T, path string) []byte {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
		Extra: []string{mem.Tick}, Refused: []string{"no-such-option"},
		Abandon: func(t *testing.T, spec hypervisor.Spec) hypervisor.Handle {
			i, err := d.Start(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			return i.Handle()
		},
		Kill: func(_ *testing.T, v any) { v.(interface{ Kill() }).Kill() },
	})
}
