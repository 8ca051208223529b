// Package demo shows the main job on one machine: a real Debian guest moves from
// one host to another while it writes to its disk and answers a client, and those
// who watch it from outside say whether anything was lost.
//
// It needs root, and leaves nothing but its report.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/scene"
	"github.com/droveway/droveway/internal/lab/workload"
)

// Config says how to show it.
type Config struct {
	Binary string    // the droveway binary
	Image  string    // a raw disk with Debian and the guest program; empty: built, or taken from the cache
	Out    string    // directory for demo.json
	Print  io.Writer // for the person who watches
	Log    *slog.Logger
}

const (
	memoryMiB   = 512
	betweenMS   = 5 // between two records
	bootTime    = 5 * time.Minute
	moveTime    = 10 * time.Minute
	warmRecords = 100 // before the move
	moreRecords = 50  // after it
)

// Run shows it, and returns an error if something was lost.
func Run(ctx context.Context, c Config) error {
	if c.Image == "" {
		var err error
		if c.Image, err = buildImage(ctx, c.Print); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("/var/tmp", "dwd-") // short, for the sake of sockets
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // guests run as another user
		return err
	}
	d := &demo{Config: c, begun: time.Now()}
	return d.run(ctx, filepath.Join(dir, "lab"))
}

// buildImage makes the Debian disk, which takes two minutes the first time.
func buildImage(ctx context.Context, print io.Writer) (string, error) {
	cmd := exec.CommandContext(ctx, "scripts/build-debian-image")
	cmd.Stderr = print
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build the Debian image (run this in the project's directory, or name one by --image): %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

type demo struct {
	Config
	begun time.Time
	scene *scene.Scene
	guest *scene.Guest
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.Print, "%7.1fs  %s\n", time.Since(d.begun).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demo) run(ctx context.Context, dir string) (err error) {
	d.say("bringing up a server and two hosts in network namespaces, and importing Debian")
	d.scene, err = scene.Open(ctx, scene.Config{Dir: dir, Binary: d.Binary, Hosts: 2, Image: d.Image, Log: d.Log})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, d.scene.Close(ctx))
	}()
	if err := d.boot(ctx); err != nil {
		return err
	}
	r, err := d.move(ctx)
	if err != nil {
		return err
	}
	if err := d.prove(ctx, r); err != nil {
		return err
	}
	return d.report(r)
}

// boot starts the guest on the first host and waits until it works.
func (d *demo) boot(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	from := d.scene.Lab.Hosts()[0]
	host, err := d.scene.API.Host(ctx, from)
	if err != nil {
		return err
	}
	d.say("starting machine web-1 on %s (QEMU %s, %s); Debian boots", from, host.Status.Capabilities["qemu"], host.Status.Capabilities["accelerator"])
	d.guest, err = d.scene.Start(ctx, scene.GuestConfig{
		Name: "web-1", MemoryMiB: memoryMiB, Host: from, Work: workload.Config{DelayMS: betweenMS},
	})
	if err != nil {
		return err
	}
	if err := d.guest.Works(ctx, warmRecords); err != nil {
		return err
	}
	d.say("the guest writes records, each flushed to its disk before it is reported; a client talks to it")
	return nil
}

// move moves the guest and notes what those outside saw.
func (d *demo) move(ctx context.Context) (*Report, error) {
	ctx, cancel := context.WithTimeout(ctx, moveTime)
	defer cancel()
	to := d.scene.Lab.Hosts()[1]
	d.say("droveway machine move web-1 --to %s", to)
	asked := time.Now()
	j, err := d.guest.Move(ctx, to)
	if err != nil {
		return nil, err
	}
	j, err = d.scene.Wait(ctx, j, d.progress())
	if err != nil {
		return nil, err
	}
	if j.State != droveway.JobSucceeded {
		return nil, droveway.Errorf(droveway.Internal, "the move ended %s in step %s: %s", j.State, j.Step, j.Error)
	}
	seen := d.guest.Client.Between(asked, time.Now())
	if err := d.guest.Works(ctx, moreRecords); err != nil {
		return nil, err
	}
	var m client.MoveResult
	if err := client.Decode(j.Result, &m); err != nil {
		return nil, err
	}
	r := &Report{
		ClientGap: seen.LongestGap.Milliseconds(), Session: seen.Breaks == 0, RequestToRunning: m.RequestToRunning,
		Sync: float64(m.Sync) / 1000, DiskMiB: m.SyncBytes >> 20, Equal: m.Equal, Boots: len(d.guest.Observer.Summary().Boots()),
	}
	r.Moved = m.Live == to && r.Boots == 1
	if m.Sync > 0 {
		r.Rate = float64(r.DiskMiB) / r.Sync
	}
	return r, nil
}

// progress tells of each step, and of the copy every few seconds.
func (d *demo) progress() func(droveway.Job) {
	var step string
	var told time.Time
	return func(j droveway.Job) {
		if j.Step != step && j.Step != "" {
			step = j.Step
			d.say("  %s%s", step, meaning[step])
		}
		if p := j.Progress; p != nil && p.Total > 0 && time.Since(told) > 2*time.Second {
			told = time.Now()
			d.say("  %s: %s", step, howFar(*p))
		}
	}
}

func howFar(p droveway.Progress) string {
	text := fmt.Sprintf("%d of %d MiB", p.Done>>20, p.Total>>20)
	if p.Rate > 0 {
		text += fmt.Sprintf(", %d MiB/s", p.Rate>>20)
	}
	if p.Remaining > 0 {
		text += fmt.Sprintf(", %s left", (time.Duration(p.Remaining) * time.Millisecond).Round(time.Second))
	}
	return text
}

// meaning explains the steps of a move that a newcomer wants explained.
var meaning = map[string]string{
	"memory":     ": the guest's memory goes to the target while it runs",
	"switchover": ": the guest stops here and goes on there",
	"hydrate":    ": it runs on the target; its disk follows",
	"prove":      ": both copies are compared by hashes",
	"release":    ": the source's copy is removed",
}

// prove holds the disk against what the observer noted.
func (d *demo) prove(ctx context.Context, r *Report) error {
	d.say("stopping the guest and reading its disk")
	found, err := d.guest.CheckDebian(ctx)
	if err != nil {
		return err
	}
	r.Acknowledged, r.Lost = found.Acknowledged, found.Lost
	return d.guest.Close()
}
