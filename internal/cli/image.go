package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
)

var imageColumns = []column[droveway.Image]{
	{title: "name", value: func(i droveway.Image) string { return i.Name }},
	{title: "state", value: func(i droveway.Image) string { return string(i.State) }},
	{title: "format", value: func(i droveway.Image) string { return string(i.Format) }},
	{title: "size", value: func(i droveway.Image) string { return bytesText(i.Size) }},
	{title: "file", value: func(i droveway.Image) string { return bytesText(i.Bytes) }},
	{title: "created", value: func(i droveway.Image) string { return stamp(i.Created) }},
	{title: "sha256", value: func(i droveway.Image) string { return i.SHA256 }, wide: true},
}

func imageCommand(a *app) *cobra.Command {
	return group("image", "Disks that machines are made from", imageImport(a), imageInspect(a), imageList(a), imageShow(a), imageRemove(a))
}

func imageImport(a *app) *cobra.Command {
	c := a.verb("import NAME FILE", "Upload an image; FILE - reads standard input", nil, func(r run) error {
		from, size, err := a.open(r.args[1])
		if err != nil {
			return err
		}
		defer from.Close()
		up := &upload{Reader: from, p: &progress{w: a.env.Err, terminal: a.env.Terminal}, name: r.args[0], total: size, began: time.Now()}
		i, err := r.api.ImportImage(r.ctx, r.args[0], up, size)
		up.p.end()
		if err != nil {
			return err
		}
		return printOne(a, i, imageColumns)
	})
	c.ValidArgsFunction = nil // FILE is a file
	return c
}

// open opens a file, or standard input for -, and tells its size, -1 if it has
// none.
func (a *app) open(path string) (io.ReadCloser, int64, error) {
	if path == "-" {
		return io.NopCloser(a.env.In), -1, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, droveway.Errorf(droveway.Invalid, "open the file: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, 0, droveway.Errorf(droveway.Invalid, "look at the file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return f, -1, nil
	}
	return f, info.Size(), nil
}

// upload is a reader that shows how much was read.
type upload struct {
	io.Reader
	p     *progress
	name  string
	done  int64
	total int64
	began time.Time
	shown time.Time
}

const redraw = 200 * time.Millisecond

func (u *upload) Read(b []byte) (int, error) {
	n, err := u.Reader.Read(b)
	u.done += int64(n)
	if time.Since(u.shown) >= redraw || err == io.EOF {
		u.shown = time.Now()
		u.show(err == io.EOF)
	}
	return n, err
}

func (u *upload) show(last bool) {
	p := droveway.Progress{Done: u.done, Total: max(u.total, 0)}
	if past := time.Since(u.began); past > redraw {
		p.Rate = int64(float64(u.done) / past.Seconds())
	}
	if p.Rate > 0 && p.Total > 0 {
		p.Remaining = (p.Total - p.Done) * 1000 / p.Rate
	}
	key := fmt.Sprint(u.done>>30, last)
	if p.Total > 0 {
		key = fmt.Sprint(u.done * tenths / p.Total)
	}
	u.p.show(key, fmt.Sprintf("image %s: %s", u.name, progressText(p)))
}

func imageList(a *app) *cobra.Command {
	return a.verb("ls", "List the images", nil, func(r run) error {
		images, err := r.api.Images(r.ctx)
		if err != nil {
			return err
		}
		return printList(a, images, imageColumns)
	})
}

func imageShow(a *app) *cobra.Command {
	return a.verb("show IMAGE", "Show an image", a.imageNames(), func(r run) error {
		i, err := r.api.Image(r.ctx, r.args[0])
		if err != nil {
			return err
		}
		return printOne(a, i, imageColumns)
	})
}

func imageRemove(a *app) *cobra.Command {
	return a.verb("rm IMAGE", "Remove an image", a.imageNames(), func(r run) error {
		if err := r.api.RemoveImage(r.ctx, r.args[0]); err != nil {
			return err
		}
		return a.note("image", r.args[0], "removed")
	})
}
