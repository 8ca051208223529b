package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/droveway/droveway"
)

// records keeps them as one file a machine. A file that is damaged is set aside under
// another name in the same directory: as long as it is there, and no file in its place,
// nobody knows what the host has of the machine.
type records struct{ dir string }

const (
	recordSuffix = ".json"
	asideMark    = ".damaged-" // between the machine's name and when it was set aside
)

func openRecords(dir string) (records, error) {
	return records{dir}, os.MkdirAll(dir, 0o700)
}

func (r records) path(machine string) string { return filepath.Join(r.dir, machine+recordSuffix) }

// save makes a record durable.
func (r records) save(rec *record) error {
	b, err := rec.encode()
	if err != nil {
		return err
	}
	if err := replace(r.path(rec.Instance.Machine), b); err != nil {
		return fmt.Errorf("keep record of machine %s: %w", rec.Instance.Machine, err)
	}
	return nil
}

// remove takes away the record of a machine, and what was set aside of it before that
// was mended.
func (r records) remove(machine string) error {
	aside, err := r.aside(machine)
	if err != nil {
		return err
	}
	for _, p := range append(aside, r.path(machine)) {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return syncDir(r.dir)
}

// machines gives the names of those of which there is a file.
func (r records) machines() ([]string, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("read the records of the machines: %w", err)
	}
	var all []string
	for _, e := range entries {
		name, isAside := machineAside(e.Name())
		if !isAside {
			var isRecord bool
			if name, isRecord = strings.CutSuffix(e.Name(), recordSuffix); !isRecord {
				continue
			}
		}
		all = append(all, name)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func machineAside(file string) (machine string, ok bool) {
	machine, _, ok = strings.Cut(file, asideMark)
	return machine, ok
}

// aside gives the files of a machine that were set aside, the newest last.
func (r records) aside(machine string) (paths []string, err error) {
	entries, err := os.ReadDir(r.dir)
	for _, e := range entries { // sorted by name
		if name, ok := machineAside(e.Name()); ok && name == machine {
			paths = append(paths, filepath.Join(r.dir, e.Name()))
		}
	}
	return paths, err
}

// read gives the record of a machine, nil if there is none. An error tells why nobody
// knows what it says, and what to do.
func (r records) read(machine string) (*record, error) {
	path := r.path(machine)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, r.missing(machine)
	case err != nil:
		return nil, droveway.Errorf(droveway.Unavailable, "its record cannot be read: %w: let the agent read it", err)
	}
	rec, err := parseRecord(machine, b)
	switch {
	case droveway.Is(err, droveway.Unsupported):
		return nil, droveway.Errorf(droveway.Unsupported, "its record %s cannot be used: %w: run an agent of the version that wrote it", path, err)
	case err != nil:
		return nil, r.setAside(machine, err)
	}
	return rec, nil
}

// setAside moves a damaged record out of the way of one that is whole. Where that cannot
// be done it stays, and is as unknown as before.
func (r records) setAside(machine string, damage error) error {
	path := r.path(machine)
	to := filepath.Join(r.dir, machine+asideMark+time.Now().UTC().Format("20060102T150405.000000000Z"))
	if err := errors.Join(os.Rename(path, to), syncDir(r.dir)); err != nil {
		var link *os.LinkError
		if errors.As(err, &link) {
			err = link.Err // the names are others at each attempt, and nothing has changed
		}
		return droveway.Errorf(droveway.Invalid, "its record %s is damaged: %w; it could not be set aside: %w", path, damage, err)
	}
	return r.advice(to, path, damage)
}

// missing tells why there is no record of a machine: nil if it has none.
func (r records) missing(machine string) error {
	aside, err := r.aside(machine)
	if err != nil || len(aside) == 0 {
		return err
	}
	last := aside[len(aside)-1]
	b, err := os.ReadFile(last)
	if err == nil {
		_, err = parseRecord(machine, b)
	}
	if err == nil {
		err = errors.New("it has been mended")
	}
	return r.advice(last, r.path(machine), err)
}

func (r records) advice(aside, path string, damage error) error {
	return droveway.Errorf(droveway.Invalid, "its record was damaged and is set aside as %s: %w: mend it, leave out its \"sum\", and move it to %s; or, if nothing of the machine runs, take it out of %s, after which the host has nothing of the machine and its disks stay among the volumes",
		aside, damage, path, r.dir)
}

// replace writes a file so that a kill leaves the old or the new one.
func replace(path string, b []byte) error {
	if err := writeSynced(path+".new", b); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
