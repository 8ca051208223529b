package convert

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/format"
	"github.com/droveway/droveway/internal/volume"
)

// recordSuffix is of the file beside an unfinished one that says how far it is.
const recordSuffix = ".at"

// checkpointEvery is what a kill costs at most, and the time for what one table maps.
const checkpointEvery = 2 * time.Second

// record is how far a conversion is: so far the file is on the disk, and no table is
// under way. What lies beyond is written again.
type record struct {
	Of   string `json:"of"`   // which conversion it is
	At   int64  `json:"at"`   // bytes of the disk that are done
	Next int64  `json:"next"` // cluster of the file to be written next
	L1   []byte `json:"l1"`
}

// GoOn is ToQCOW2, but goes on where an earlier call was killed that wrote to the same
// file. of tells conversions apart: the record of another one is not used. The file
// and its record stay, whether it fails or not.
func GoOn(ctx context.Context, to *os.File, of string, disk *format.Image, progress func(done int64)) error {
	return goOn(ctx, to, &keeper{of: of, last: time.Now(), every: checkpointEvery}, disk, progress)
}

func goOn(ctx context.Context, to *os.File, k *keeper, disk *format.Image, progress func(done int64)) error {
	c := conversion{w: newWriter(to, disk.Size), to: to, disk: disk, buf: make([]byte, step), kept: k}
	if err := c.restore(); err != nil {
		return err
	}
	return c.run(ctx, progress)
}

// restore goes back to the last checkpoint, or to the start if there is none that is
// sound.
func (c *conversion) restore() error {
	info, err := c.to.Stat()
	if err != nil {
		return droveway.Errorf(droveway.Internal, "look at %s: %w", c.to.Name(), err)
	}
	var r record
	b, err := os.ReadFile(c.to.Name() + recordSuffix)
	if err == nil && json.Unmarshal(b, &r) == nil && r.fits(c, info.Size()) {
		c.at, c.w.next, c.w.region = r.At, r.Next, r.At/reach
		copy(c.w.l1, r.L1)
	}
	end := c.w.next << clusterBits
	if c.at == 0 {
		end = 0
	}
	if err := c.to.Truncate(end); err != nil {
		return droveway.Errorf(droveway.Internal, "shorten %s: %w", c.to.Name(), err)
	}
	return nil
}

func (r *record) fits(c *conversion, fileSize int64) bool {
	return r.Of == c.kept.of && r.At > 0 && r.At < c.disk.Size && r.At%step == 0 && len(r.L1) == len(c.w.l1) &&
		r.Next > 0 && r.Next <= fileSize>>clusterBits
}

// keeper keeps how far a conversion is.
type keeper struct {
	of    string
	last  time.Time
	every time.Duration
}

// keep makes a checkpoint, if it is time, where the conversion turns to another table.
func (k *keeper) keep(c *conversion) error {
	if k == nil || c.at >= c.disk.Size || c.at/reach == c.w.region || time.Since(k.last) < k.every {
		return nil
	}
	err := c.w.enter(c.at / reach)
	if err == nil {
		err = c.to.Truncate(c.w.next << clusterBits) // the last cluster may be short
	}
	if err == nil {
		err = c.to.Sync()
	}
	if err == nil {
		err = record{k.of, c.at, c.w.next, c.w.l1}.write(c.to.Name() + recordSuffix)
	}
	k.last = time.Now()
	return volume.NoRoom(err, c.to.Name(), 1)
}

// write replaces the record. An older one that a power cut brings back serves, too.
func (r record) write(path string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path+"~", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if again := f.Close(); err == nil {
		err = again
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
