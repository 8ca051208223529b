package job

import (
	"errors"

	"github.com/droveway/droveway"
)

// ErrCancelled is the cause of the context of a step whose job was cancelled,
// and what a Journal answers when a cancel came in between.
var ErrCancelled = droveway.Errorf(droveway.Conflict, "the job was cancelled")

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks an error of a Do that another attempt cannot mend: before the
// point of no return is done the job unwinds at once. Errors of a kind other than
// unavailable and internal are permanent by themselves. After the point it
// changes nothing. From a point of no return without an Undo it says that the
// step has not acted.
func Permanent(err error) error { return permanent{err} }

type final struct{ error }

func (f final) Unwrap() error { return f.error }

// Fail marks an error of a Do after the point of no return that ends the job: it
// fails at once and undoes nothing, because the step has itself left everything
// in a condition that the error states. So does the point of no return itself, if
// it has no Undo. Before the point it is like Permanent.
func Fail(err error) error { return final{err} }

// hopeless reports whether another attempt is of no use.
func hopeless(err error) bool {
	if isPermanent(err) || isFinal(err) {
		return true
	}
	k := droveway.KindOf(err)
	return k != droveway.Unavailable && k != droveway.Internal
}

func isPermanent(err error) bool {
	_, ok := errors.AsType[permanent](err)
	return ok
}

func isFinal(err error) bool {
	_, ok := errors.AsType[final](err)
	return ok
}
