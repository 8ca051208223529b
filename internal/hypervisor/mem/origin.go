package mem

import (
	"context"
	"io"
)

// origin is an export of a secondary. It connects when it is used, and again
// after an error. Its user sees to it that calls follow one another.
type origin struct {
	address, export string
	peer            *peer
}

func (o *origin) ask(ctx context.Context, r request) (response, error) {
	if o.peer == nil {
		p, err := dial(ctx, o.address)
		if err != nil {
			return response{}, err
		}
		o.peer = p
	}
	r.Name = o.export
	a, err := o.peer.ask(r)
	if err != nil {
		o.drop()
	}
	return a, err
}

func (o *origin) drop() {
	if o.peer != nil {
		o.peer.close()
		o.peer = nil
	}
}

func (o *origin) size(ctx context.Context) (int64, error) {
	a, err := o.ask(ctx, request{Op: "size"})
	return a.Size, err
}

func (o *origin) write(off int64, p []byte) error {
	_, err := o.ask(context.Background(), request{Op: "write", Off: off, Data: p})
	return err
}

func (o *origin) read(off int64, p []byte) error {
	a, err := o.ask(context.Background(), request{Op: "read", Off: off, N: len(p)})
	if err == nil && copy(p, a.Data) < len(p) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
