package cli

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
)

// choice is a flag that takes one of a few words.
type choice[T ~string] struct {
	value *T
	words []T
}

// AddChoice adds a flag that takes one of a few words, and completes it. Its default is
// what is in value.
func AddChoice[T ~string](c *cobra.Command, value *T, name, usage string, words ...T) {
	c.Flags().Var(choice[T]{value, words}, name, usage)
	all := make([]cobra.Completion, 0, len(words))
	for _, w := range words {
		all = append(all, cobra.Completion(w))
	}
	_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(all, cobra.ShellCompDirectiveNoFileComp))
}

func (v choice[T]) String() string {
	if v.value == nil {
		return ""
	}
	return string(*v.value)
}

func (v choice[T]) Type() string { return "string" }

func (v choice[T]) Set(s string) error {
	if !slices.Contains(v.words, T(s)) {
		return droveway.Errorf(droveway.Invalid, "use %s", alternatives(v.words))
	}
	*v.value = T(s)
	return nil
}

// alternatives writes words as a choice: a, b or c.
func alternatives[T ~string](words []T) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i > 0 && i == len(words)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}

// longest is the longest time that the API takes for a guest to do something.
const longest = time.Hour

// secondsValue is a flag with a time in whole seconds, one at least.
type secondsValue struct{ seconds *int64 }

func (v secondsValue) String() string { return "" }

func (v secondsValue) Type() string { return "time" }

func (v secondsValue) Set(s string) error {
	if _, err := strconv.Atoi(s); err == nil {
		s += "s" // a bare number
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second || d > longest {
		return droveway.Errorf(droveway.Invalid, "give a time from 1s to 1h, as 90s or 2m")
	}
	*v.seconds = int64(d.Seconds())
	return nil
}
