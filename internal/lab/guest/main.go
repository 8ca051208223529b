// Command guest is the program inside the lab's guests. As process 1 it is the
// whole of a tiny guest: it loads the kernel's modules, sets the addresses that
// the seed disk names, and works on the second partition of its disk. Otherwise
// it is a service of a real system, and works on a file.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/droveway/droveway/internal/lab/hand"
	"github.com/droveway/droveway/internal/lab/workload"
)

const (
	servicePath    = "/var/lib/droveway-guest/records"
	serviceFileMiB = 64
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	if os.Getpid() == 1 {
		fmt.Println("droveway-guest: starts as process 1")
		if err := runTiny(log); err != nil {
			fmt.Println("droveway-guest: failed:", err)
		}
		powerOff()
	}
	if err := runService(log); err != nil {
		log.Error("guest program failed", "error", err)
		os.Exit(1)
	}
}

func runService(log *slog.Logger) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	seed, err := findSeed()
	if err != nil {
		return err
	}
	c, err := workload.ParseUserData(seed[userDataFile])
	if err != nil {
		return err
	}
	if c.Path == "" {
		c.Path = servicePath
	}
	r, err := openFile(c.Path, serviceFileMiB<<20)
	if err != nil {
		return err
	}
	defer r.Close()
	return workload.Run(ctx, c, r, serviceFileMiB<<20, log)
}

func runTiny(log *slog.Logger) error {
	if err := prepare(); err != nil {
		return err
	}
	// The work has to end before the disks are shut down.
	ctx, stop := context.WithCancel(context.Background())
	powerButton(stop)
	seed, err := findSeed()
	if err != nil {
		return err
	}
	if err := setAddresses(seed[networkFile]); err != nil {
		return err
	}
	c, err := workload.ParseUserData(seed[userDataFile])
	if err != nil {
		return err
	}
	r, size, err := openPartition()
	if err != nil {
		return err
	}
	orders, err := net.Listen("tcp", ":"+hand.Port)
	if err != nil {
		return err
	}
	defer orders.Close()
	go func() { fmt.Println("droveway-guest: takes no more orders:", hand.Serve(orders)) }()
	fmt.Println("droveway-guest: works")
	return workload.Run(ctx, c, r, size, log)
}
