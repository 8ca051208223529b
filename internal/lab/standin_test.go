//go:build lab

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/lab/disk"
	"golang.org/x/sys/unix"
)

// The test's own binary stands in for droveway, so that these tests are about
// the lab alone.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-") {
		leaveMachine()
		os.Exit(m.Run())
	}
	if err := standIn(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// leaveMachine starts the test over in a network namespace of its own, where no
// lab of a person is in the way of the uplink.
func leaveMachine() {
	const left = "DROVEWAY_TEST_LEFT"
	if os.Getenv(left) != "" {
		return
	}
	runtime.LockOSThread()
	err := unix.Unshare(unix.CLONE_NEWNET)
	if err == nil {
		err = syscall.Exec(os.Args[0], os.Args, append(os.Environ(), left+"=1"))
	}
	fmt.Fprintln(os.Stderr, "network namespace for the test (needs root):", err)
	os.Exit(1)
}

func standIn(role string, args []string) error {
	option := func(name string) string {
		i := slices.Index(args, name)
		if i < 0 {
			return ""
		}
		return args[i+1]
	}
	fleet := filepath.Dir(filepath.Dir(os.Getenv("DROVEWAY_CONTEXT")))
	switch {
	case role == "server":
		return standInServer(option("--data"), option("--listen"))
	case role == "token":
		fmt.Println(`{"token":"t-1"}`)
		return nil
	case role == "host" && args[0] == "ls":
		return standInHosts(fleet)
	case role == "lab" && args[0] == "disk":
		return disk.Serve(args[1], args[2])
	case role == "up":
		return standInUp(option("--data"))
	case role == "host":
		return standInHost(option("--data"), os.Getenv("DROVEWAY_TOKEN"))
	}
	time.Sleep(time.Hour) // a guest
	return nil
}

// standInUp brings a lab up and waits to be killed.
func standInUp(dir string) error {
	_, err := Up(context.Background(), Config{Dir: dir, Hosts: 2, Binary: os.Args[0], Uplink: true, DiskMiB: 16, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	fmt.Println("up")
	select {}
}

func standInServer(data, listen string) error {
	if _, err := os.Stat(filepath.Join(filepath.Dir(data), "broken")); err == nil {
		return fmt.Errorf("the server is broken")
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(data, "admin.json"), []byte(`{"server":"x"}`), 0o600); err != nil {
		return err
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		conn.Close()
	}
}

func standInHosts(fleet string) error {
	dirs, err := filepath.Glob(filepath.Join(fleet, "host-*", "identity"))
	if err != nil {
		return err
	}
	hosts := []droveway.Host{}
	for _, d := range dirs {
		hosts = append(hosts, droveway.Host{
			Meta:   droveway.Meta{Name: filepath.Base(filepath.Dir(d))},
			Status: droveway.HostStatus{State: droveway.HostReady},
		})
	}
	return json.NewEncoder(os.Stdout).Encode(hosts)
}

// standInHost starts a guest that outlives it, in a control group, and with an
// environment that is not its own.
func standInHost(data, token string) error {
	if _, err := os.Stat(filepath.Join(data, "identity")); err != nil && token == "" {
		return fmt.Errorf("no token and no identity")
	}
	guest := exec.Command(os.Args[0], "guest")
	guest.Env = []string{"LC_ALL=C"}
	guest.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := guest.Start(); err != nil {
		return err
	}
	group := filepath.Join(cgroupRoot, "pids", "droveway", fmt.Sprint(guest.Process.Pid))
	if err := os.MkdirAll(group, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), fmt.Append(nil, guest.Process.Pid), 0); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(data, "identity"), 0o700); err != nil {
		return err
	}
	return guest.Wait()
}
