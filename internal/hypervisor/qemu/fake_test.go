package qemu

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/droveway/droveway/internal/hypervisor"
)

// fake plays QEMU: it answers each command with what it is told to.
type fake struct {
	mu      sync.Mutex
	answers map[string]string
	asked   []string
	then    map[string]map[string]string // by command: the answers that are others from then on
}

// fakeInstance is an instance whose process is this one and whose monitor is
// answered by a fake.
func fakeInstance(t *testing.T, spec hypervisor.Spec, answers map[string]string) (*Instance, *fake) {
	t.Helper()
	spec.Dir = t.TempDir()
	f := &fake{answers: answers}
	l, err := net.Listen("unix", filepath.Join(spec.Dir, monitorName))
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		if conn, err := l.Accept(); err == nil {
			f.serve(conn)
		}
	})
	proc, err := open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	i := New(Config{}).instance(handle{Process: proc.id, Spec: spec}, proc)
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
		l.Close()
		served.Wait()
	})
	return i, f
}

func (f *fake) serve(conn net.Conn) {
	defer conn.Close()
	fmt.Fprintln(conn, `{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":22},"package":""},"capabilities":[]}}`)
	in := bufio.NewScanner(conn)
	for in.Scan() {
		var r struct {
			Execute string
			ID      uint64
		}
		if json.Unmarshal(in.Bytes(), &r) != nil {
			return
		}
		fmt.Fprintf(conn, "{%s,\"id\":%d}\n", f.answer(r.Execute), r.ID)
	}
}

func (f *fake) answer(cmd string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, cmd)
	maps.Copy(f.answers, f.then[cmd])
	if a, ok := f.answers[cmd]; ok {
		return `"return":` + a
	}
	if cmd == "qmp_capabilities" {
		return `"return":{}`
	}
	return `"error":{"class":"GenericError","desc":"` + cmd + ` is refused"}`
}

// only gives the commands that were asked, without others than these.
func (f *fake) only(cmds ...string) (asked []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.asked {
		if slices.Contains(cmds, c) {
			asked = append(asked, c)
		}
	}
	return asked
}

func (f *fake) count(cmd string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.asked {
		if c == cmd {
			n++
		}
	}
	return n
}
