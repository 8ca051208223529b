//go:build lab

package qemu

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/pki"
	"github.com/droveway/droveway/internal/hypervisor"
	"github.com/droveway/droveway/internal/hypervisor/hypervisortest"
)

func TestSuiteRaw(t *testing.T) {
	t.Parallel()
	hypervisortest.Run(t, env(t, droveway.Raw, Config{}))
}

// The guests of this one run as an unprivileged user.
func TestSuiteQCOW2(t *testing.T) {
	t.Parallel()
	hypervisortest.Run(t, env(t, droveway.QCOW2, Config{User: "nobody"}))
}

func env(t *testing.T, format droveway.Format, cfg Config) hypervisortest.Env {
	known := New(cfg)
	if _, err := known.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := hypervisortest.Env{
		New: func(*testing.T) hypervisor.Driver {
			d := New(cfg)
			d.found, d.patience = known.found, 3 // a probe for each of them would take long
			return d
		},
		Format: format, Create: createRaw, Content: contentRaw,
		Guest:   func(content []byte, disks int) { copy(content, guest(disks)) },
		Refused: []string{"-no-such-option"},
		Abandon: func(t *testing.T, spec hypervisor.Spec) hypervisor.Handle { return abandon(t, spec, cfg.User) }, Kill: kill, TLS: (&authorities{dir: t.TempDir()}).issue,
	}
	if format == droveway.QCOW2 {
		e.Create, e.Content = createQCOW2, contentQCOW2
	}
	return e
}

func createRaw(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func contentRaw(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func createQCOW2(t *testing.T, path string, content []byte) {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	createRaw(t, raw, content)
	tool(t, "convert", "-f", "raw", "-O", "qcow2", raw, path)
}

// contentQCOW2 reads a disk that QEMU may have open.
func contentQCOW2(t *testing.T, path string) []byte {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	tool(t, "convert", "--image-opts", "-O", "raw", "driver=qcow2,file.driver=file,file.locking=off,file.filename="+strings.ReplaceAll(path, ",", ",,"), raw)
	return contentRaw(t, raw)
}

func tool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %q: %v: %s", args, err, out)
	}
}

func abandon(t *testing.T, spec hypervisor.Spec, user string) hypervisor.Handle {
	t.Helper()
	b, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), abandonEnv+"="+string(b), userEnv+"="+user)
	out, err := cmd.Output() // it waits for all that hold the pipe
	if cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the starter ended with %v: %s", err, out)
	}
	return out
}

func kill(t *testing.T, v any) {
	t.Helper()
	if err := syscall.Kill(v.(interface{ PID() int }).PID(), syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// authorities issue the certificates of the suite's hosts.
type authorities struct {
	dir string
	mu  sync.Mutex
}

func (a *authorities) issue(t *testing.T, authority, host string) *hypervisor.TLS {
	t.Helper()
	a.mu.Lock()
	ca, err := pki.Open(filepath.Join(a.dir, authority))
	a.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := ca.Issue(host, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, b := range map[string][]byte{
		"ca-cert.pem": ca.CA(), "server-cert.pem": cert, "server-key.pem": key, "client-cert.pem": cert, "client-key.pem": key,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &hypervisor.TLS{Dir: dir}
}
