package qmp

import (
	"errors"

	"github.com/droveway/droveway"
)

// Error is the monitor's refusal of a command.
type Error struct {
	Class string `json:"class"` // "GenericError", "CommandNotFound", "DeviceNotFound", …
	Desc  string `json:"desc"`
}

func (e *Error) Error() string { return e.Desc }

// refused gives a refusal the kind that its class stands for. GenericError says
// nothing more than that the object is in no state for the command.
func refused(cmd string, e *Error) error {
	kind := droveway.Conflict
	switch e.Class {
	case "CommandNotFound":
		kind = droveway.Unsupported
	case "DeviceNotFound":
		kind = droveway.NotFound
	}
	return droveway.Errorf(kind, "QMP %s: %w", cmd, e)
}

// lost says that the monitor gave no answer.
func lost(cmd string, err error) error {
	return droveway.Errorf(droveway.Unavailable, "QMP %s: no answer: %w", cmd, err)
}

// Refused reports whether err is a refusal by the monitor, which did get the
// command, rather than the loss of the connection.
func Refused(err error) bool {
	_, ok := errors.AsType[*Error](err)
	return ok
}
