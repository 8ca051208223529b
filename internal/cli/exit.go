package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
)

// The exit codes that stand beside those of the kinds of error.
const (
	exitOK          = 0
	exitInternal    = 1
	exitJobFailed   = 9
	exitInterrupted = 130
)

// kindCodes is the exit code of each kind of error. The numbers never change.
var kindCodes = []struct {
	kind    droveway.Kind
	code    int
	meaning string
}{
	{droveway.Internal, exitInternal, "a defect of Droveway"},
	{droveway.Invalid, 2, "the command or the request makes no sense as it stands"},
	{droveway.NotFound, 3, "the object named does not exist"},
	{droveway.Exists, 4, "an object of that name is there already"},
	{droveway.Conflict, 5, "the object is in a state that forbids it now"},
	{droveway.Unsupported, 6, "a feature is missing where it would be needed"},
	{droveway.Permission, 7, "the caller may not do this"},
	{droveway.Unavailable, 8, "something needed does not answer; try again"},
}

// jobFailed is a job that was waited for and ended badly.
type jobFailed struct{ job droveway.Job }

func (e *jobFailed) Error() string {
	reason := e.job.Error
	if reason == "" {
		reason = "no reason was given"
	}
	return fmt.Sprintf("job %s (%s of %s) failed: %s", e.job.Name, e.job.Kind, e.job.Subject, reason)
}

func exitCode(err error) int {
	if _, ok := errors.AsType[*jobFailed](err); ok {
		return exitJobFailed
	}
	if e, ok := errors.AsType[*commandFailed](err); ok {
		return e.code
	}
	kind := droveway.KindOf(err)
	for _, k := range kindCodes {
		if k.kind == kind {
			return k.code
		}
	}
	return exitInternal
}

// exitCodes is a topic of the help: droveway help exit-codes.
func exitCodes() *cobra.Command {
	var b strings.Builder
	fmt.Fprintf(&b, "The exit code says what sort of thing went wrong.\n\n  %3d  success\n", exitOK)
	for _, k := range kindCodes {
		fmt.Fprintf(&b, "  %3d  %-12s %s\n", k.code, k.kind, k.meaning)
	}
	fmt.Fprintf(&b, "  %3d  %-12s a job that was waited for failed\n", exitJobFailed, "job failed")
	fmt.Fprintf(&b, "  %3d  %-12s a signal ended the command; a job that it started goes on", exitInterrupted, "interrupted")
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: b.String()}
}
