package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/droveway/droveway"
)

// uploadName names the upload of files: the same for the same files as long as they
// do not change, so that a second attempt goes on with the first.
func uploadName(paths []string) (string, error) {
	h := sha256.New()
	for _, p := range paths {
		path, err := filepath.Abs(p)
		if err != nil {
			return "", droveway.Errorf(droveway.Internal, "find %s: %w", p, err)
		}
		info, err := os.Stat(path)
		if err != nil {
			return "", droveway.Errorf(droveway.Invalid, "look at the image: %w", err)
		}
		fmt.Fprintf(h, "%s\x00%d\x00%d\x00", path, info.Size(), info.ModTime().UnixNano())
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// upload shows how far an upload is.
type upload struct {
	p     *progress
	name  string
	total int64 // 0: not known
	began time.Time
	first int64 // bytes that were there before
	done  int64
	shown time.Time
}

func (a *app) newUpload(name string, total int64) *upload {
	return &upload{p: &progress{w: a.env.Err, columns: a.env.Columns}, name: name, total: total, began: time.Now(), first: -1}
}

const redraw = 200 * time.Millisecond

func (u *upload) show(done int64) {
	if u.first < 0 {
		u.first = done
	}
	if u.done = done; time.Since(u.shown) >= redraw {
		u.draw(fmt.Sprint(done >> 30))
	}
}

// end shows the last place that was reached.
func (u *upload) end() {
	if u.done > 0 {
		u.draw("end")
	}
	u.p.end()
}

func (u *upload) draw(key string) {
	u.shown = time.Now()
	p := droveway.Progress{Done: u.done, Total: u.total}
	if past := time.Since(u.began); past > redraw {
		p.Rate = int64(float64(u.done-u.first) / past.Seconds())
	}
	if p.Rate > 0 && p.Total > 0 {
		p.Remaining = (p.Total - p.Done) * 1000 / p.Rate
	}
	if p.Total > 0 {
		key = fmt.Sprint(u.done * tenths / p.Total)
	}
	u.p.show(key, fmt.Sprintf("image %s: %s", u.name, progressText(p)))
}
