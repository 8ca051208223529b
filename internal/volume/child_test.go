package volume

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/droveway/droveway"
)

func TestRunSetsLimits(t *testing.T) {
	t.Parallel()
	r, err := run(t.Context(), limits{memory: 1 << 30, cpu: 7 * time.Second, time: time.Minute}, "sh", "-c", "ulimit -v; ulimit -t; ulimit -c; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(string(r.out)); len(got) != 3 || got[0] != "1048576" || got[1] != "7" || got[2] != "0" {
		t.Errorf("limits %v", got)
	}
	if r.status != 3 || r.said == "" {
		t.Errorf("ended with %d, said %q", r.status, r.said)
	}
}

func TestRunEndsAtTimeLimit(t *testing.T) {
	t.Parallel()
	_, err := run(t.Context(), limits{memory: 1 << 30, time: 20 * time.Millisecond}, "sleep", "1000")
	wantError(t, err, droveway.Unavailable, "sleep 1000 was stopped", context.DeadlineExceeded.Error())
}

func TestRunKeepsLittleOfWhatIsSaid(t *testing.T) {
	t.Parallel()
	r, err := run(t.Context(), limits{memory: 1 << 30, time: time.Minute}, "sh", "-c", "head -c 3000000 /dev/zero | tee /dev/stderr; kill -9 $$")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.out) != stdoutMax || len(r.said) > stderrMax || r.status != -1 {
		t.Errorf("kept %d and %d bytes, status %d", len(r.out), len(r.said), r.status)
	}
}

func TestToolIsMissing(t *testing.T) {
	t.Parallel()
	_, err := mustRun(t.Context(), copying(0), "qemu-imgg", "info")
	wantError(t, err, droveway.Unsupported, "qemu-imgg is not installed")
}

// helpers are what the test binary can play; see TestMain.
var helpers = map[string]func(){
	"parent": helpParent,
	"fill":   helpFill,
}

// helpParent starts a child and waits to be killed.
func helpParent() {
	c, err := start(limits{memory: 1 << 30}, "sleep", "1000")
	if err != nil {
		panic(err)
	}
	fmt.Println(c.cmd.Process.Pid)
	select {}
}

// helper runs the test binary as a helper.
func helper(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), helperEnv+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

func TestChildDiesWithParent(t *testing.T) {
	t.Parallel()
	cmd := helper("parent")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if !alive(pid) {
		t.Fatal("the child does not run")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	for start := time.Now(); alive(pid); time.Sleep(time.Millisecond) {
		if time.Since(start) > 5*time.Second {
			t.Fatalf("child %d outlives its parent", pid)
		}
	}
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}
