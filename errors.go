package droveway

import (
	"errors"
	"fmt"
)

// Kind says what sort of thing went wrong, so that callers can act on it: an
// HTTP status, an exit code, another attempt.
type Kind string

// The kinds of error. Anything without a kind is Internal.
const (
	Invalid     Kind = "invalid"     // the request makes no sense as it stands
	NotFound    Kind = "not_found"   // the object named does not exist
	Exists      Kind = "exists"      // an object of that name is there already
	Conflict    Kind = "conflict"    // the object is in a state that forbids it now
	Unsupported Kind = "unsupported" // a feature is missing where it would be needed
	Permission  Kind = "permission"  // the caller may not do this
	Unavailable Kind = "unavailable" // something needed does not answer; try again
	Internal    Kind = "internal"    // a defect of Droveway
)

// Error is an error with a kind. Message says what was wrong, where, and what
// to do.
type Error struct {
	Kind    Kind   `json:"kind"`
	Message string `json:"message"`
	Feature string `json:"feature,omitempty"` // Unsupported: the missing feature
	cause   error
}

func (e *Error) Error() string { return e.Message }

// Unwrap gives the cause, if there is one.
func (e *Error) Unwrap() error { return e.cause }

// Errorf makes an error of a kind; each %w keeps a cause.
func Errorf(k Kind, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	e := &Error{Kind: k, Message: err.Error()}
	switch err.(type) {
	case interface{ Unwrap() error }, interface{ Unwrap() []error }:
		e.cause = err
	}
	return e
}

// Missing makes the error for a feature that is not there.
func Missing(feature, format string, args ...any) error {
	return &Error{Kind: Unsupported, Feature: feature, Message: fmt.Sprintf(format, args...)}
}

// KindOf gives the kind of an error: that of the outermost Error in its chain,
// Internal if there is none, and the empty kind for no error.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	return KindOr(err, Internal)
}

// KindOr gives the kind of an error that comes from where a defect is not the first
// thing to think of: that of the outermost Error in its chain, and otherwise if there
// is none.
func KindOr(err error, otherwise Kind) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return otherwise
}

// Is reports whether err is of the kind.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }
