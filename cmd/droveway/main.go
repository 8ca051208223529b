// Command droveway is every role of Droveway and its command line.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/droveway/droveway/internal/cli"
	"github.com/droveway/droveway/internal/daemon"
)

func main() {
	if daemon.First() {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	_, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS)
	env := cli.Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Terminal: err == nil, Getenv: os.Getenv}
	code := cli.Main(ctx, os.Args[1:], env, daemon.Roles())
	stop()
	os.Exit(code)
}
