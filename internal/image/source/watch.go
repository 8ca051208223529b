package source

import (
	"context"
	"io"
	"time"

	"github.com/droveway/droveway"
)

// silence is how long a server may send nothing.
const silence = 60 * time.Second

// watched is a request that fails when the server falls silent, before its answer or
// in the midst of it: a connection whose other end is gone without a word would else
// be waited for for ever.
type watched struct {
	io.ReadCloser // of the answer

	ctx     context.Context // of the request
	cancel  context.CancelCauseFunc
	silence time.Duration
	timer   *time.Timer
}

func watch(ctx context.Context, silence time.Duration) *watched {
	w := &watched{silence: silence}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(silence, func() {
		w.cancel(droveway.Errorf(droveway.Unavailable, "the server has sent nothing for %s", silence))
	})
	return w
}

// body goes on with watching, while the answer is read: how long its reader takes
// between reads is not the server's silence.
func (w *watched) body(b io.ReadCloser) io.ReadCloser {
	w.timer.Stop()
	w.ReadCloser = b
	return w
}

// why gives the cause if an error is but that the request was ended.
func (w *watched) why(err error) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	return err
}

func (w *watched) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.silence)
	defer w.timer.Stop()
	n, err := w.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = w.why(err)
	}
	return n, err
}

func (w *watched) Close() error {
	w.stop()
	return w.ReadCloser.Close()
}
