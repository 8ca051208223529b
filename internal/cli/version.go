package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
}

var buildColumns = []column[build]{
	{title: "version", value: func(b build) string { return b.Version }},
	{title: "commit", value: func(b build) string { return b.Commit }, wide: true},
	{title: "go", value: func(b build) string { return b.Go }},
}

// Version is the version of this program, as the toolchain recorded it.
func Version() string { return thisBuild().Version }

func thisBuild() build {
	b := build{Version: "devel", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Commit = s.Value
		}
	}
	return b
}

func versionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version of this program", Args: NoOperands,
		RunE: func(*cobra.Command, []string) error { return printOne(a, thisBuild(), buildColumns) },
	}
}
