package bus_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/bus"
	"github.com/droveway/droveway/internal/engine/bus/bustest"
	"github.com/droveway/droveway/internal/engine/pki"
	"github.com/droveway/droveway/internal/engine/store"
)

// childDir makes the test's own binary run a bus in that directory, as a process
// that can be killed.
const childDir = "DROVEWAY_TEST_BUS_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func child(dir string) error {
	a, err := pki.Open(dir + "/pki")
	if err != nil {
		return err
	}
	s, err := bus.NewServer(bus.ServerConfig{Dir: dir + "/bus", Listen: "127.0.0.1:0", PKI: a, Log: bustest.Log()})
	if err != nil {
		return err
	}
	go func() {
		<-s.Ready()
		fmt.Println(s.URL())
	}()
	return s.Run(context.Background())
}

// spawn runs a bus in a process of its own and gives its URL.
func spawn(t *testing.T, dir string) (url string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // SIGKILL
		_ = cmd.Wait()         // says that it was killed
	})
	t.Cleanup(kill)
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the bus's process says nothing")
	}
	return lines.Text(), kill
}

// A killed bus has every write that it acknowledged.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx := within(t, 18*time.Second)
	acknowledged := 0
	for range 3 {
		url, kill := spawn(t, dir)
		// The same identities, from outside.
		b := bustest.Run(t, bus.ServerConfig{Dir: dir + "/bus", External: url, PKI: authority(t, dir), Log: bustest.Log()})
		s, err := store.Buckets(ctx, b.Conn(t).JS)
		if err != nil {
			t.Fatal(err)
		}
		table := store.NewTable[int](s.Jobs, "job")
		all, err := table.List(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) < acknowledged {
			t.Fatalf("%d of %d acknowledged writes are left", len(all), acknowledged)
		}
		time.AfterFunc(100*time.Millisecond, kill)
		for acknowledged = len(all); ; acknowledged++ {
			wait, cancel := context.WithTimeout(ctx, time.Second)
			err := table.Create(wait, strconv.Itoa(acknowledged), acknowledged)
			cancel()
			if err != nil {
				if !droveway.Is(err, droveway.Unavailable) {
					t.Fatal(err)
				}
				break
			}
		}
		b.Stop()
	}
	if acknowledged == 0 {
		t.Error("nothing was ever acknowledged")
	}
}
