package source

import (
	"context"
	"io"
	"time"

	"github.com/droveway/droveway"
)

// silence is how long a server may send nothing.
const silence = 60 * time.Second

// watched is a body that fails when the server falls silent: a connection whose
// other end is gone without a word would else be read for ever.
type watched struct {
	io.ReadCloser
	ctx     context.Context // of the request
	cancel  context.CancelCauseFunc
	silence time.Duration
	timer   *time.Timer
}

func watch(ctx context.Context, cancel context.CancelCauseFunc, body io.ReadCloser, silence time.Duration) io.ReadCloser {
	w := &watched{ReadCloser: body, ctx: ctx, cancel: cancel, silence: silence}
	w.timer = time.AfterFunc(silence, func() {
		cancel(droveway.Errorf(droveway.Unavailable, "the server has sent nothing for %s", silence))
	})
	return w
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.silence)
	n, err := w.ReadCloser.Read(p)
	if err != nil && w.ctx.Err() != nil {
		err = context.Cause(w.ctx)
	}
	return n, err
}

func (w *watched) Close() error {
	w.timer.Stop()
	w.cancel(nil)
	return w.ReadCloser.Close()
}
