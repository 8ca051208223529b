package job

import (
	"context"
	"encoding/json"
)

// Step is one action of a job. S is what the steps of the job remember, kept in
// the journal.
//
// Do and Undo are called at least once, again after a kill or an error, so both
// must bear repetition; Undo must also bear a Do that has not acted at all, or
// only half. A step that fails for good is undone too. Undo is tried until it
// succeeds. Undo may be nil.
type Step[S any] struct {
	Name string
	Do   func(context.Context, *Run[S]) error
	Undo func(context.Context, *Run[S]) error
	// Point marks the point of no return: once this step is done the job only
	// goes forward, and once it has begun it cannot be cancelled. One step of a
	// job at most. A point without an Undo is tried until it succeeds, or says by
	// Permanent that it has not acted, or by Fail how it has left things: a number
	// of failures does not tell on which side of the point the world is.
	Point bool
	// Turns says that this step, though after the point, hears a cancel: its
	// context ends, Cancelled tells why, and it turns the job round itself, under
	// Onward, and says by Fail how it has left things. Succeeding it overrules the
	// cancel. If it cannot turn the job round, Withdraw takes the cancel back.
	Turns bool
}

// mayHaveActed reports whether a failure of the step says nothing about what it
// has done, and nothing could undo it.
func (s Step[S]) mayHaveActed() bool { return s.Point && s.Undo == nil }

// Kind is a sort of job; Define makes one.
type Kind interface {
	// Name is part of the names of its jobs.
	Name() string
	plan(args json.RawMessage) (plan, error)
}

// plan is the steps of one job, without their type.
type plan interface {
	record() (*Record, error)
	execute(ctx context.Context, rec *Record, env Env) error
}

// Define makes a kind of job. steps gives the steps for the arguments that
// Submit was given, as JSON; it must give the same steps for the same arguments,
// and touch nothing.
func Define[S any](name string, steps func(args json.RawMessage) ([]Step[S], error)) Kind {
	return kind[S]{name, steps}
}

type kind[S any] struct {
	name  string
	steps func(json.RawMessage) ([]Step[S], error)
}

func (k kind[S]) Name() string { return k.name }

func (k kind[S]) plan(args json.RawMessage) (plan, error) {
	steps, err := k.steps(args)
	return typed[S](steps), err
}

type typed[S any] []Step[S]

func (p typed[S]) record() (*Record, error) { return NewRecord(p) }

func (p typed[S]) execute(ctx context.Context, rec *Record, env Env) error {
	return Execute(ctx, rec, p, env)
}
