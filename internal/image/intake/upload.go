package intake

import (
	"context"
	"io"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/image/stage"
)

// Uploaded tells how many bytes of an upload have arrived.
func (i *Intake) Uploaded(name, upload string) (int64, error) {
	id := staged(name, upload)
	if !i.stage.Has(id) {
		return 0, droveway.Errorf(droveway.NotFound, "image %s: there is no such upload", name)
	}
	f, err := i.stage.Open(id)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Offset(), nil
}

// Receive goes on with an upload, from offset on, and tells how many bytes have
// arrived then. Conflict says that it stands at another place, or that another
// connection brings it. size is the bytes of the whole, 0 if that is not known.
func (i *Intake) Receive(ctx context.Context, name, upload string, offset, size int64, from io.Reader) (int64, error) {
	if err := i.free(ctx, name); err != nil {
		return 0, err
	}
	i.sweepAlong(ctx)
	f, err := i.stage.Open(staged(name, upload))
	if err != nil {
		return 0, err
	}
	at, err := i.into(ctx, f, name, offset, size, from)
	if again := f.Close(); err == nil {
		err = again
	}
	if useless := at == 0 || full(err) && at > offset; err != nil && useless {
		_ = i.Abandon(name, upload) // it holds nothing, or so much that there is no room for anything
	}
	return at, err
}

// into receives into a file that is open. A job can have claimed the name since it was
// free; from now on it would have to wait for the file.
func (i *Intake) into(ctx context.Context, f *stage.File, name string, offset, size int64, from io.Reader) (int64, error) {
	if err := i.free(ctx, name); err != nil {
		return f.Offset(), err
	}
	if offset == 0 && (f.Offset() > 0 || f.Whole()) { // a whole of nothing, too
		if err := f.Reset(); err != nil {
			return 0, err
		}
	}
	if err := i.checkRoom(size - offset); err != nil {
		return f.Offset(), err
	}
	return receive(ctx, f, name, offset, size, from)
}

func receive(ctx context.Context, f *stage.File, name string, offset, size int64, from io.Reader) (int64, error) {
	if f.Offset() != offset {
		return f.Offset(), droveway.Errorf(droveway.Conflict, "image %s: %d bytes of the upload have arrived, not %d: go on from there", name, f.Offset(), offset)
	}
	if err := f.Remember(stage.About{Size: size}); err != nil {
		return offset, err
	}
	err := f.Append(ctx, from, nil)
	return f.Offset(), err
}

// Abandon removes an upload.
func (i *Intake) Abandon(name, upload string) error { return i.stage.Remove(staged(name, upload)) }
