package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/droveway/droveway"
)

// operator restarts a guest on the other host as one does by hand with virsh:
//
//	virsh shutdown ─▶ qemu-img convert, over NBD with TLS ─▶ virsh start
//
// Of the usual ways to copy a disk this is the quickest: it has several requests
// on their way at a time, where scp and rsync have one stream.
type operator struct{ domain }

const (
	copyPort   = "7003"
	copyExport = "disk"
	copyPID    = "copy.pid"
)

func (o *operator) move(ctx context.Context) (moved, error) {
	m := moved{downtime: none()}
	if err := o.shutDown(ctx); err != nil {
		return m, err
	}
	begun := time.Now()
	if err := o.copy(ctx); err != nil {
		return m, fmt.Errorf("copy the disk: %w", err)
	}
	m.sync = ms(time.Since(begun))
	_, err := o.target.virsh(ctx, "start", plainName)
	return m, err
}

// shutDown asks the guest to power down and waits until it has.
func (o *operator) shutDown(ctx context.Context) error {
	if _, err := o.source.virsh(ctx, "shutdown", plainName, "--mode", "acpi"); err != nil {
		return err
	}
	for {
		state, err := o.source.virsh(ctx, "domstate", plainName)
		if err != nil || strings.TrimSpace(state) == "shut off" {
			return err
		}
		if err := sleep(ctx, lookEvery); err != nil {
			return fmt.Errorf("the guest does not power down: %w", err)
		}
	}
}

// copy serves the blank disk on the target and fills it from the source.
func (o *operator) copy(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx) // ends the server if something fails
	defer cancel()
	at, to := o.guest.at, o.guest.to
	if err := os.Remove(to.path(copyPID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var words strings.Builder
	serve := o.scene.Lab.Command(ctx, to.namespace, "qemu-nbd", "--pid-file", to.path(copyPID), "--object", nbdTLS(to, "server"),
		"--tls-creds", credentials, "--bind", to.address.String(), "--port", copyPort, "--export-name", copyExport, "--format", "raw", o.guest.disk(to))
	serve.Stderr = &words
	if err := serve.Start(); err != nil {
		return fmt.Errorf("qemu-nbd: %w", err)
	}
	err := listening(ctx, to.path(copyPID))
	if err == nil {
		err = o.do(ctx, at, "qemu-img", "convert", "-n", "-W", "--object", nbdTLS(at, "client"), "--image-opts", "--target-image-opts",
			"driver=raw,file.driver=file,file.filename="+o.guest.disk(at),
			fmt.Sprintf("driver=nbd,server.type=inet,server.host=%s,server.port=%s,export=%s,tls-creds=%s,tls-hostname=%s",
				to.address, copyPort, copyExport, credentials, to.name))
	}
	if err != nil {
		cancel()
	}
	// It ends with its only client, and holds the disk until then.
	if failed := serve.Wait(); failed != nil {
		err = errors.Join(err, fmt.Errorf("qemu-nbd on %s: %w: %s", to.name, failed, strings.TrimSpace(words.String())))
	}
	return err
}

// listening waits until qemu-nbd has written its number, which it does once it
// listens.
func listening(ctx context.Context, pidFile string) error {
	ctx, cancel := context.WithTimeout(ctx, monitorTime)
	defer cancel()
	for {
		if _, err := os.Stat(pidFile); err == nil {
			return nil
		}
		if err := sleep(ctx, lookEvery); err != nil {
			return fmt.Errorf("qemu-nbd does not listen: %w", err)
		}
	}
}

func nbdTLS(s site, endpoint string) string {
	return fmt.Sprintf("tls-creds-x509,id=%s,dir=%s,endpoint=%s,verify-peer=on", credentials, s.tls, endpoint)
}

// do runs a program on a host.
func (b *bed) do(ctx context.Context, s site, program string, args ...string) error {
	out, err := b.scene.Lab.Command(ctx, s.namespace, program, args...).CombinedOutput()
	if err != nil {
		return droveway.Errorf(droveway.Unavailable, "%s on %s: %w: %s", program, s.name, err, strings.TrimSpace(string(out)))
	}
	return nil
}
