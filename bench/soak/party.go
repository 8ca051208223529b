package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/scene"
	"github.com/droveway/droveway/internal/lab/workload"
)

const (
	bootTime  = 2 * time.Minute
	jobTime   = 4 * time.Minute
	betweenMS = 5 // ms between two records
	syncRate  = 32 << 20
)

// party is the guests, and the dice.
type party struct {
	scene  *scene.Scene
	dice   *rand.Rand
	guests []*scene.Guest
	counts map[string]int // of what was done, and how it ended
}

func newParty(s *scene.Scene, seed uint64) *party {
	return &party{scene: s, dice: rand.New(rand.NewPCG(seed, 0)), counts: map[string]int{}}
}

func (p *party) invite(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(n)*bootTime)
	defer cancel()
	for i := range n {
		g, err := p.scene.Start(ctx, scene.GuestConfig{
			Name: "guest-" + strconv.Itoa(i), MemoryMiB: memoryMiB, Host: p.scene.Lab.Hosts()[i%hosts],
			Format: []droveway.Format{droveway.Raw, droveway.QCOW2}[i%2], Work: workload.Config{DelayMS: betweenMS, DirtyMiB: 4 * i},
		})
		if err != nil {
			return err
		}
		p.guests = append(p.guests, g)
		if err := g.Works(ctx, 10); err != nil {
			return err
		}
	}
	return nil
}

// goOn does one thing after the other until the time is over, and stops at the
// first that goes wrong.
func (p *party) goOn(ctx context.Context, until time.Time) error {
	for round := 1; time.Now().Before(until) && ctx.Err() == nil; round++ {
		g := p.guests[p.dice.IntN(len(p.guests))]
		if err := p.round(ctx, round, g); err != nil {
			return fmt.Errorf("round %d, %s: %w", round, g.Name, err)
		}
	}
	return ctx.Err()
}

// round begins something with a guest, lets an accident happen, and waits until
// it has ended and the guest works again.
func (p *party) round(ctx context.Context, n int, g *scene.Guest) error {
	ctx, cancel := context.WithTimeout(ctx, jobTime)
	defer cancel()
	what, begin := p.draw()
	accident, happen := p.drawAccident()
	wait := time.Duration(p.dice.IntN(3000)) * time.Millisecond
	j, err := begin(ctx, g)
	if droveway.Is(err, droveway.Conflict) {
		return p.settle(ctx, g) // it still stops or starts after the last accident
	}
	if err != nil {
		return err
	}
	if err := sleep(ctx, wait); err != nil {
		return err
	}
	if err := happen(ctx, g); err != nil {
		return fmt.Errorf("%s: %w", accident, err)
	}
	if what == "call off" {
		if _, err := p.scene.API.CancelJob(ctx, j.Name); err != nil && !droveway.Is(err, droveway.Conflict) && !droveway.Is(err, droveway.Unavailable) {
			return err
		}
	}
	j, err = p.ended(ctx, j)
	if err != nil {
		return err
	}
	p.counts[what+" "+string(j.State)]++
	p.counts[accident]++
	fmt.Printf("%4d  %-8s %-8s after %4d ms %-22s %s\n", n, g.Name, what, wait.Milliseconds(), accident, j.State)
	return p.settle(ctx, g)
}

// settle waits until the guest works again, wherever it is.
func (p *party) settle(ctx context.Context, g *scene.Guest) error {
	if err := g.Works(ctx, 5); err != nil {
		return err
	}
	if s := g.Observer.Summary(); s.Rewound() > 0 || s.Wrong() > 0 {
		return droveway.Errorf(droveway.Internal, "lost or wrong: %s", s)
	}
	return nil
}

type deed func(context.Context, *scene.Guest) (droveway.Job, error)

func (p *party) draw() (string, deed) {
	move := func(ctx context.Context, g *scene.Guest) (droveway.Job, error) {
		return p.scene.API.MoveMachine(ctx, g.Name, client.MoveRequest{SyncRate: syncRate}, "")
	}
	restart := func(mode string) deed {
		return func(ctx context.Context, g *scene.Guest) (droveway.Job, error) {
			return p.scene.API.RestartMachine(ctx, g.Name, client.RestartRequest{Mode: mode, GraceSeconds: 3}, "")
		}
	}
	switch n := p.dice.IntN(10); {
	case n < 5:
		return "move", move
	case n < 7:
		return "call off", move
	case n < 9:
		return "refresh", restart("refresh")
	}
	return "reboot", restart("reboot")
}

func (p *party) drawAccident() (string, func(context.Context, *scene.Guest) error) {
	hosts := p.scene.Lab.Hosts()
	host := hosts[p.dice.IntN(len(hosts))]
	switch n := p.dice.IntN(12); {
	case n < 5:
		return "nothing", func(context.Context, *scene.Guest) error { return nil }
	case n < 7:
		return "server killed", func(ctx context.Context, _ *scene.Guest) error {
			return errors.Join(p.scene.Lab.KillServer(), p.scene.Lab.StartServer(ctx))
		}
	case n < 9:
		return "agent killed " + host, func(ctx context.Context, _ *scene.Guest) error {
			return errors.Join(p.scene.Lab.KillHost(host), p.scene.Lab.StartHost(ctx, host))
		}
	case n < 10:
		return "link cut " + host, func(ctx context.Context, _ *scene.Guest) error {
			return errors.Join(p.scene.Lab.CutLink(host), sleep(ctx, 2*time.Second), p.scene.Lab.MendLink(host))
		}
	case n < 11:
		return "instance killed " + host, func(_ context.Context, g *scene.Guest) error { return p.kill("qemu-system-x86_64", host, g) }
	}
	return "daemon killed " + host, func(_ context.Context, g *scene.Guest) error { return p.kill("qemu-storage-daemon", host, g) }
}

// kill kills what a host runs of a program for a guest.
func (p *party) kill(program, host string, g *scene.Guest) error {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, path := range lines {
		b, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(b), p.scene.Lab.Dir(host)+"/instances/"+g.Name+".") {
			continue
		}
		if args := strings.Split(string(b), "\x00"); filepath.Base(args[0]) != program {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(path, "/")[2])
		if err != nil {
			return err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// ended waits for a job whose server may be away.
func (p *party) ended(ctx context.Context, j droveway.Job) (droveway.Job, error) {
	for {
		now, err := p.scene.API.Job(ctx, j.Name)
		if err == nil && now.State.Ended() {
			return now, nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return now, fmt.Errorf("job %s has not ended: %s in step %s: %s: %w", j.Name, now.State, now.Step, now.Retry, err)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sorted gives the counts in a fixed order.
func (p *party) sorted() []string {
	var out []string
	for k, n := range p.counts {
		out = append(out, fmt.Sprintf("%s: %d", k, n))
	}
	slices.Sort(out)
	return out
}
