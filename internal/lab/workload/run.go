package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/droveway/droveway/internal/lab/record"
)

// echoPort is the port of the echo service (RFC 862).
const echoPort = "7"

// Region is where the records go.
type Region interface {
	io.ReaderAt
	io.WriterAt
	// Flush returns when everything that was written is durable.
	Flush() error
}

// Run works until ctx ends or the region fails for good.
func Run(ctx context.Context, c Config, region Region, size int64, log *slog.Logger) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("read boot id: %w", err)
	}
	area, err := record.NewArea(size)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", ":"+echoPort)
	if err != nil {
		return fmt.Errorf("listen for the client: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	news := newNews(record.Report{Run: rand.Uint64(), BootID: strings.TrimSpace(string(boot))})
	w := &writer{region: region, area: area, delay: c.delay(), news: news, block: alignedBlock()}

	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() { report(ctx, c.Observer, news, log) })
	wait.Go(func() { dirty(ctx, c.DirtyMiB, news) })
	wait.Go(func() { echo(ln) })
	wait.Go(func() {
		<-ctx.Done()
		ln.Close()
	})
	err = w.run(ctx)
	cancel()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// echo sends every connection back what it says.
func echo(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			io.Copy(conn, conn)
		}()
	}
}
