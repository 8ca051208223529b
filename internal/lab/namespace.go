package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/droveway/droveway"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespaceDir is where ip-netns(8) keeps names, so that it knows the lab's too.
const namespaceDir = "/run/netns"

func namespacePath(name string) string { return filepath.Join(namespaceDir, name) }

// Inside runs f on a thread that is in a namespace of the lab. Sockets that f
// opens stay there; goroutines that f starts do not.
func (l *Lab) Inside(namespace string, f func() error) error { return inside(namespace, f) }

// inside runs f on a thread that is in the namespace. Sockets that f opens stay
// there; goroutines that f starts do not.
func inside(namespace string, f func() error) error {
	ns, err := netns.GetFromName(namespace)
	if errors.Is(err, fs.ErrNotExist) {
		return droveway.Errorf(droveway.NotFound, "network namespace %s is not there: the lab is down", namespace)
	}
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", namespace, err)
	}
	defer ns.Close()
	return onThread(func() error {
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", namespace, err)
		}
		return f()
	})
}

// onThread runs f on a thread of its own and brings the thread back to the
// namespace that it came from, or gives it up.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			done <- fmt.Errorf("find own network namespace: %w", err)
			return
		}
		err = f()
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		done <- errors.Join(err, home.Close())
	}()
	return <-done
}

// addNamespace makes a named namespace with its loopback up.
func addNamespace(name string) error {
	return onThread(func() error {
		ns, err := netns.NewNamed(name)
		if err != nil {
			return fmt.Errorf("make network namespace %s: %w", name, err)
		}
		defer ns.Close()
		if err := setUp("lo"); err != nil {
			return fmt.Errorf("namespace %s: %w", name, err)
		}
		return nil
	})
}

// removeNamespace takes the name away; the kernel takes the rest once no
// process or socket is in it.
func removeNamespace(name string) error {
	err := netns.DeleteNamed(name)
	// Not mounted: a kill came between the name and the mount.
	if errors.Is(err, unix.EINVAL) {
		err = unix.Unlink(namespacePath(name))
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove network namespace %s: %w", name, err)
	}
	return nil
}

// ServerNS is the namespace of the server.
func (l *Lab) ServerNS() string { return l.plan.namespace(serverName) }

// ClientNS is the namespace of whoever uses the fleet.
func (l *Lab) ClientNS() string { return l.plan.namespace(clientName) }

// HostNS is the namespace of a host.
func (l *Lab) HostNS(name string) string { return l.plan.namespace(name) }

// Command prepares a program to run in a namespace of the lab. It sees the
// machine's own files, /sys among them.
func (l *Lab) Command(ctx context.Context, namespace, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", enter(namespace, name, args)...)
}

// enter makes the arguments of nsenter(1), which becomes the program, so that a
// signal reaches it. ip-netns(8) would hide the cgroups under a /sys of its own.
func enter(namespace, name string, args []string) []string {
	return append([]string{"--net=" + namespacePath(namespace), "--", name}, args...)
}

// Listen opens a listener in a namespace of the lab.
func (l *Lab) Listen(ctx context.Context, namespace, network, address string) (ln net.Listener, err error) {
	err = inside(namespace, func() (err error) {
		var c net.ListenConfig
		ln, err = c.Listen(ctx, network, address)
		return err
	})
	return ln, err
}

// Dial connects from a namespace of the lab to an IP address and port.
func (l *Lab) Dial(ctx context.Context, namespace, network, address string) (conn net.Conn, err error) {
	err = inside(namespace, func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}
