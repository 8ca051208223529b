package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/lab/check"
	"github.com/droveway/droveway/internal/lab/scene"
)

// Where the target listens.
const (
	memoryPort = "7001"
	diskPort   = "7002"
)

// pair moves with what QEMU offers by itself, with the commands that virsh migrate
// --copy-storage-all gives it:
//
//	disk to the target, in the background ─▶ memory ─▶ the copy ends ─▶ the guest runs on the target
type pair struct {
	*bed
	trial
	guest          *plain
	source, target *vm
}

func (p *pair) boot(ctx context.Context) (disk string, err error) {
	if p.guest, err = p.plainGuest(ctx, p.DiskMiB); err != nil {
		return "", err
	}
	if err := p.prepare(ctx, p.guest); err != nil {
		return "", err
	}
	p.source, err = p.startVM(ctx, p.guest, p.guest.at, false)
	return p.guest.disk(p.guest.at), err
}

func (p *pair) watch() *scene.Watch { return p.guest.watch }

func (p *pair) move(ctx context.Context) (moved, error) {
	var m moved
	if err := p.await(ctx); err != nil {
		return m, fmt.Errorf("prepare the target: %w", err)
	}
	begun := time.Now()
	if err := p.mirror(ctx); err != nil {
		return m, fmt.Errorf("copy the disk: %w", err)
	}
	m.sync = ms(time.Since(begun))
	if err := p.memory(ctx); err != nil {
		return m, fmt.Errorf("send the memory: %w", err)
	}
	if err := p.switchOver(ctx); err != nil {
		return m, fmt.Errorf("switch over: %w", err)
	}
	m.running = time.Now()
	i, err := p.source.migrationInfo(ctx)
	m.downtime = figure(i.Downtime)
	return m, errors.Join(err, p.source.stop(ctx))
}

// await starts the target, which serves its blank disk and waits for memory.
func (p *pair) await(ctx context.Context) (err error) {
	if p.target, err = p.startVM(ctx, p.guest, p.guest.to, true); err != nil {
		return err
	}
	return p.target.each(ctx, []command{
		{"nbd-server-start", members{"addr": members{"type": "inet", "data": members{"host": p.guest.to.address.String(), "port": diskPort}}, "tls-creds": credentials}},
		{"block-export-add", members{"type": "nbd", "id": "export0", "node-name": diskNode, "name": diskNode, "writable": true}},
		{"migrate-set-capabilities", capabilities("events", "return-path", "late-block-activate")},
		{"migrate-set-parameters", members{"tls-creds": credentials}},
		{"migrate-incoming", members{"uri": "tcp:" + p.target.hostPort(memoryPort)}},
	})
}

const mirrorJob = "mirror0"

// mirror copies the disk and goes on to copy what the guest writes.
func (p *pair) mirror(ctx context.Context) error {
	err := p.source.each(ctx, []command{
		{"blockdev-add", members{
			"driver": "nbd", "node-name": "target", "server": p.target.at(diskPort), "export": diskNode, "discard": "unmap",
			"tls-creds": credentials, "tls-hostname": p.guest.to.name,
		}},
		{"blockdev-mirror", members{"job-id": mirrorJob, "device": diskNode, "target": "target", "sync": "full"}},
	})
	if err != nil {
		return err
	}
	return p.source.happens(ctx, "BLOCK_JOB_READY", anyData)
}

// memory sends the memory, up to the last of it.
func (p *pair) memory(ctx context.Context) error {
	err := p.source.each(ctx, []command{
		{"migrate-set-capabilities", capabilities("events", "return-path", "pause-before-switchover")},
		{"migrate-set-parameters", members{"tls-creds": credentials, "tls-hostname": p.guest.to.name, "max-bandwidth": unlimited}},
		{"migrate", members{"uri": "tcp:" + p.target.hostPort(memoryPort)}},
	})
	if err != nil {
		return err
	}
	return p.source.migration(ctx, "pre-switchover")
}

// unlimited is the greatest rate that QEMU takes, in bytes a second.
const unlimited = int64(1)<<62 - 1

// switchOver ends the copy of the disk, which is whole by then, and lets the
// guest run on the target.
func (p *pair) switchOver(ctx context.Context) error {
	if err := p.source.do(ctx, "block-job-cancel", members{"device": mirrorJob}); err != nil {
		return err
	}
	if err := p.source.happens(ctx, "BLOCK_JOB_COMPLETED", anyData); err != nil {
		return err
	}
	if err := p.source.do(ctx, "migrate-continue", members{"state": "pre-switchover"}); err != nil {
		return err
	}
	if err := p.source.migration(ctx, "completed"); err != nil {
		return err
	}
	if err := p.target.settled(ctx); err != nil {
		return err
	}
	return p.target.each(ctx, []command{{"nbd-server-stop", nil}, {"cont", nil}})
}

func (p *pair) check(ctx context.Context) (check.Result, error) {
	if err := p.target.stop(ctx); err != nil {
		return check.Result{}, err
	}
	return p.guest.check(ctx)
}

func (p *pair) forget(ctx context.Context) (err error) {
	for _, v := range []*vm{p.source, p.target} {
		if v != nil {
			err = errors.Join(err, v.stop(ctx))
		}
	}
	if p.guest == nil {
		return err
	}
	return errors.Join(err, p.bed.forget(p.guest))
}

// command is one for a monitor.
type command struct {
	name string
	args members
}

func (v *vm) each(ctx context.Context, commands []command) error {
	for _, c := range commands {
		if err := v.do(ctx, c.name, c.args); err != nil {
			return err
		}
	}
	return nil
}

func capabilities(names ...string) members {
	var all []members
	for _, n := range names {
		all = append(all, members{"capability": n, "state": true})
	}
	return members{"capabilities": all}
}

// migration waits until the migration has a status.
func (v *vm) migration(ctx context.Context, want string) error {
	failed := false
	err := v.happens(ctx, "MIGRATION", func(data json.RawMessage) bool {
		var d struct{ Status string }
		if json.Unmarshal(data, &d) != nil {
			return false
		}
		failed = d.Status == "failed" || d.Status == "cancelled"
		return failed || d.Status == want
	})
	if failed {
		return droveway.Errorf(droveway.Unavailable, "QEMU on %s: the migration failed: %s", v.site.name, v.words())
	}
	return err
}

// migrationInfo is what we read of query-migrate; times in milliseconds.
type migrationInfo struct {
	Status   string
	Downtime int64
}

func (v *vm) migrationInfo(ctx context.Context) (i migrationInfo, err error) {
	err = v.monitor.Execute(ctx, "query-migrate", nil, &i)
	return i, err
}

// settled waits until the target has taken in the memory.
func (v *vm) settled(ctx context.Context) error {
	for {
		i, err := v.migrationInfo(ctx)
		switch {
		case err != nil:
			return err
		case i.Status == "completed":
			return nil
		case i.Status == "failed":
			return droveway.Errorf(droveway.Unavailable, "QEMU on %s could not take the memory: %s", v.site.name, v.words())
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}
