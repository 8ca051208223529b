package daemon

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var (
	unitCommand = regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/droveway (.*) \$FLAGS$`)
	unitFlags   = regexp.MustCompile(`(?m)^# /etc/droveway/\w+\.env: FLAGS=(.*)$`)
)

// The units start roles that there are, with flags that they have, and those that
// they show as an example.
func TestUnits(t *testing.T) {
	t.Parallel()
	units, err := filepath.Glob("../../packaging/systemd/*.service")
	if err != nil || len(units) != 3 {
		t.Fatalf("units %v, %v: want three", units, err)
	}
	for _, path := range units {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		command, example := unitCommand.FindSubmatch(b), unitFlags.FindSubmatch(b)
		if command == nil || example == nil {
			t.Errorf("%s: no command, or no example of its flags", path)
			continue
		}
		words := strings.Fields(string(command[1]) + " " + string(example[1]))
		root := &cobra.Command{Use: "droveway"}
		root.AddCommand(serverCommand(), hostCommand(), probeCommand())
		c, flags, err := root.Find(words)
		if err != nil || c == root {
			t.Errorf("%s: role %q: %v", path, words[0], err)
			continue
		}
		if err := c.ParseFlags(flags); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if guests := c.Name() == "host"; guests != strings.Contains(string(b), "\nKillMode=process\n") {
			t.Errorf("%s: guests are to outlive a host's agent, and nothing another role", path)
		}
	}
}
