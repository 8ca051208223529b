package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/scene"
	"github.com/droveway/droveway/internal/lab/web"
	"github.com/droveway/droveway/internal/lab/workload"
)

// The ways to the guest's login.
const (
	waySwitchFirst = "run from the source"
	wayImportFirst = "import, then create"
)

const (
	name         = "first" // of the machine, and of the image
	memoryMiB    = 512
	loginTime    = 20 * time.Minute // of an emulated guest on a busy machine
	takeDownTime = time.Minute
	idleMS       = 10_000 // between two records that the guest writes
)

// first is one run of one way. Times are from the request on.
type first struct {
	Way   string  `json:"way"`
	Round int     `json:"round"`
	Login float64 `json:"login_s"`           // until its guest asked for a login
	Whole float64 `json:"whole_s,omitempty"` // until its disk was whole, of one that ran before
	Sent  float64 `json:"sent_at_login_b"`   // bytes of the source that had gone by the login
}

// far is a lab, and a source that is some way off.
type far struct {
	*scene.Scene
	web  *web.Server
	link string
	log  *slog.Logger
}

// firsts makes a machine of the far disk in both ways, round by round.
func (o options) firsts(ctx context.Context, dir string, r *report) (err error) {
	path, err := o.farDisk(ctx, dir, r)
	if err != nil {
		return err
	}
	s, err := scene.Open(ctx, scene.Config{Dir: filepath.Join(dir, "l"), Binary: o.binary, Hosts: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() {
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeDownTime)
		defer cancel()
		err = errors.Join(err, s.Close(down))
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := &far{Scene: s, log: o.log}
	if err := f.serve(ctx, path, o); err != nil {
		return err
	}
	for round := range o.runs {
		for _, way := range []string{waySwitchFirst, wayImportFirst} {
			o.log.Info("waiting for a login", "way", way, "round", round+1)
			one, err := f.first(ctx, way)
			if err != nil {
				return fmt.Errorf("%s: %w", way, err)
			}
			one.Way, one.Round = way, round+1
			r.Firsts = append(r.Firsts, one)
		}
	}
	return nil
}

// serve puts the disk on a web server, until ctx ends.
func (f *far) serve(ctx context.Context, path string, o options) error {
	var err error
	if f.web, err = web.New(path); err != nil {
		return err
	}
	f.web.Latency = o.latency
	f.web.SetRate(o.rate)
	ln, err := f.Lab.Listen(ctx, f.Lab.ServerNS(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = f.web.Run(ctx, ln) }() // who waits for its answers will say so
	f.link = "http://" + ln.Addr().String() + "/disk.vmdk"
	return nil
}

// first makes one machine, and removes it once its source is not needed any more.
func (f *far) first(ctx context.Context, way string) (one first, err error) {
	began, sent := time.Now(), f.web.Sent()
	root := droveway.Disk{Name: "root", Format: droveway.QCOW2}
	if way == waySwitchFirst {
		o, err := f.API.OfferOrigin(ctx, client.OriginRequest{Link: f.link})
		if err != nil {
			return one, err
		}
		root.Origin = o.Name
	} else {
		j, err := f.API.StartImport(ctx, name, client.ImportRequest{Link: f.link}, "")
		if _, err = f.Must(ctx, j, err); err != nil {
			return one, err
		}
		root.Image = name
	}
	j, err := f.create(ctx, root)
	if err != nil {
		return one, err
	}
	if err := f.login(ctx, j); err != nil {
		return one, err
	}
	one.Login, one.Sent = time.Since(began).Seconds(), float64(f.web.Sent()-sent)
	if _, err := f.Must(ctx, j, nil); err != nil {
		return one, err
	}
	if way == waySwitchFirst {
		one.Whole = time.Since(began).Seconds()
	}
	return one, f.remove(ctx, root)
}

// create makes a machine whose guest has next to nothing to do.
func (f *far) create(ctx context.Context, root droveway.Disk) (droveway.Job, error) {
	user, err := workload.Config{DelayMS: idleMS}.UserData()
	if err != nil {
		return droveway.Job{}, err
	}
	return f.API.CreateMachine(ctx, client.MachineRequest{Name: name, Spec: droveway.MachineSpec{
		CPUs: 1, MemoryMiB: memoryMiB, Running: true, Disks: []droveway.Disk{root}, UserData: user, NICs: []droveway.NIC{{Network: scene.NetworkName}},
	}}, "")
}

// login waits until the guest asks for a login. The console is read twice a second.
func (f *far) login(ctx context.Context, j droveway.Job) error {
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	for {
		console, err := f.API.Console(ctx, name, true)
		if err == nil {
			err = awaitLogin(bufio.NewReader(console))
			_ = console.Close()
			return err
		}
		if !droveway.Is(err, droveway.Conflict) && !droveway.Is(err, droveway.NotFound) { // of a machine that has no host yet
			return err
		}
		if j, err = f.API.Job(ctx, j.Name); err == nil && j.State == droveway.JobFailed {
			err = scene.Succeeded(j)
		}
		if err != nil {
			return err
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func awaitLogin(console *bufio.Reader) error {
	const prompt = " login:"
	var seen strings.Builder
	for {
		b, err := console.ReadByte()
		if err != nil {
			return fmt.Errorf("the console ended before the guest asked for a login: %w: %q", err, tail(seen.String()))
		}
		if seen.WriteByte(b); b == prompt[len(prompt)-1] && strings.HasSuffix(seen.String(), prompt) {
			return nil
		}
	}
}

func tail(s string) string { return s[max(0, len(s)-400):] }

func (f *far) remove(ctx context.Context, root droveway.Disk) error {
	j, err := f.API.RemoveMachine(ctx, name, "")
	if _, err = f.Must(ctx, j, err); err != nil || root.Image == "" {
		return err
	}
	return f.API.RemoveImage(ctx, root.Image)
}
