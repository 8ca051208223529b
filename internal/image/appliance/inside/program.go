package inside

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/appliance/wire"
)

// carryOut writes the files of a step, then hives, then runs its programs.
func (a *appliance) carryOut(s wire.Step) error {
	w := writer{step: s.Name, changed: func(c wire.Change) { a.tell(wire.Event{Change: &c}) }}
	find := func(name string) string { return name }
	if a.order.Disk.Mounts[0].Kind == ntfs {
		find = spelled
	}
	for _, f := range s.Files {
		f.Path = find(f.Path)
		if err := w.write(f); err != nil {
			return err
		}
	}
	for _, h := range s.Hives {
		h.Path = find(h.Path)
		if err := w.hive(h); err != nil {
			return err
		}
	}
	kept, err := w.keepAll(s.Keep)
	if err != nil {
		return err
	}
	for _, args := range s.Run {
		said, err := program(args)
		a.tell(wire.Event{Said: "$ " + strings.Join(args, " ") + "\n" + said})
		if err != nil {
			return err
		}
	}
	return w.compare(kept)
}

// environment is that of programs of the guest. Nobody answers their questions.
var environment = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"LC_ALL=C", "HOME=/root", "DEBIAN_FRONTEND=noninteractive",
}

// program runs a program of the guest and gives the end of what it said.
func program(args []string) (string, error) {
	name, value, _ := strings.Cut(environment[0], "=")
	if err := os.Setenv(name, value); err != nil { // where exec looks
		return "", droveway.Errorf(droveway.Internal, "set PATH: %w", err)
	}
	said := &tail{}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = "/", environment
	cmd.Stdout, cmd.Stderr = said, said
	cmd.WaitDelay = 10 * time.Second // for what it leaves running
	if err := cmd.Run(); err != nil {
		return said.String(), droveway.Errorf(droveway.Invalid, "%s fails in the guest: %w%s", strings.Join(args, " "), err, said.said())
	}
	return said.String(), nil
}

// tail keeps the end of what is written to it.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if extra := len(t.kept) - wire.MaxWords; extra > 0 {
		t.kept = append(t.kept[:0], t.kept[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.kept) }

// said is the last lines for an error.
func (t *tail) said() string {
	const most = 10
	lines := strings.Split(strings.TrimSpace(string(t.kept)), "\n")
	if len(lines) == 1 && lines[0] == "" {
		return ""
	}
	return fmt.Sprintf("; it said: %s", strings.Join(lines[max(0, len(lines)-most):], " | "))
}
