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
	env := cli.Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Columns: columns(os.Stderr), Getenv: os.Getenv}
	code := cli.Main(ctx, os.Args[1:], env, daemon.Roles())
	stop()
	os.Exit(code)
}

// columns tells how wide a terminal is at the moment; nil: f is none.
func columns(f *os.File) func() int {
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	return func() int {
		size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
		if err != nil {
			return 0
		}
		return int(size.Col)
	}
}
