package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/droveway/droveway/internal/lab/tinyimage"
	"golang.org/x/sys/unix"
)

// region is a file or device that is written past the page cache, so that what
// is read back comes from the disk.
type region struct{ *os.File }

func (r region) Flush() error { return unix.Fdatasync(int(r.Fd())) }

func openRegion(path string) (region, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return region{}, fmt.Errorf("open region of the records: %w", err)
	}
	return region{f}, nil
}

// openFile opens the file of the records. A new one is written in full first:
// later records change data alone, and no metadata of the file system.
func openFile(path string, size int64) (region, error) {
	if info, err := os.Stat(path); err == nil && info.Size() == size {
		return openRegion(path)
	}
	tmp := path + ".new"
	f, err := os.Create(tmp)
	if err != nil {
		return region{}, fmt.Errorf("make file of the records: %w", err)
	}
	chunk := make([]byte, 1<<20)
	for done := int64(0); done < size && err == nil; done += int64(len(chunk)) {
		_, err = f.Write(chunk)
	}
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return region{}, fmt.Errorf("make file of the records: %w", err)
	}
	return openRegion(path)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// openPartition finds the disk of the tiny image by its signature, and in it the
// partition for the records.
func openPartition() (r region, size int64, err error) {
	err = eachDisk(func(disk string) (bool, error) {
		if !isOwn("/dev/" + disk) {
			return false, nil
		}
		r, err = openRegion(fmt.Sprintf("/dev/%s%d", disk, tinyimage.RecordPartition))
		return err == nil, nil
	})
	if err != nil {
		return region{}, 0, fmt.Errorf("find the disk of the records: %w", err)
	}
	size, err = r.Seek(0, 2)
	return r, size, err
}

func isOwn(device string) bool {
	f, err := os.Open(device)
	if err != nil {
		return false
	}
	defer f.Close()
	sector := make([]byte, 512)
	_, err = f.ReadAt(sector, 0)
	return err == nil && bytes.Equal(sector[tinyimage.SignatureAt:][:4], []byte(tinyimage.Signature))
}
