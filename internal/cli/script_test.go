package cli_test

import (
	"bytes"
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/cli"
	"github.com/droveway/droveway/internal/daemon"
	"github.com/droveway/droveway/internal/daemon/daemontest"
	"github.com/droveway/droveway/internal/image/imagetest"
	"github.com/droveway/droveway/internal/image/sourcetest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"droveway": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		env := cli.Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv}
		code := cli.Main(ctx, os.Args[1:], env, daemon.Roles())
		stop()
		os.Exit(code)
	}})
}

// Each script has a fleet of its own, with hosts a and b. $DISK is the file of a
// small image, exits runs a command that must end with a code, break makes a verb
// of a host's driver fail with a kind of error and ! break mends it, serve serves a
// file at $URL and cuts connections, foreign makes a disk with a Debian of another
// hypervisor, appliance an OVA of a kind.
func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			f := daemontest.New(t, "a", "b")
			testscript.Run(t, testscript.Params{
				Files: []string{file},
				Setup: func(env *testscript.Env) error {
					env.Setenv("DROVEWAY_CONTEXT", f.ContextFile())
					env.Setenv("DISK", f.Image())
					env.Setenv("TZ", "UTC")
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"exits": exits,
					"until": until,
					"serve": func(ts *testscript.TestScript, _ bool, args []string) {
						b, err := os.ReadFile(ts.MkAbs(args[0]))
						ts.Check(err)
						ts.Setenv("URL", sourcetest.New(t, b, sourcetest.Manners{CutAfter: 300 << 10}).URL)
					},
					"foreign": func(ts *testscript.TestScript, _ bool, args []string) {
						ts.Check(os.WriteFile(ts.MkAbs(args[0]), imagetest.Image(t, "../../image/inspect/testdata/split"), 0o600))
					},
					"appliance": func(ts *testscript.TestScript, _ bool, args []string) {
						ts.Check(os.WriteFile(ts.MkAbs(args[1]), appliance(t, args[0]), 0o600))
					},
					"break": func(_ *testscript.TestScript, neg bool, args []string) {
						var err error
						if !neg {
							err = droveway.Errorf(droveway.Kind(args[2]), "broken by the script")
						}
						f.Break(args[0], args[1], err)
					},
				},
			})
		})
	}
}

// appliance makes an OVA of a kind.
func appliance(t *testing.T, kind string) []byte {
	split := imagetest.Image(t, "../../image/inspect/testdata/split")
	two := func(first, second []byte) []byte {
		return imagetest.OVA(t, imagetest.Member{Name: "one.img", Data: first}, imagetest.Member{Name: "two.img", Data: second})
	}
	switch kind {
	case "usr":
		return two(imagetest.Usr(t, split))
	case "var":
		return two(imagetest.Var(t, split))
	case "group":
		return two(imagetest.Group(split))
	case "mirror":
		older := bytes.Clone(split)
		imagetest.Half{Level: 1, Events: 3}.RootInArray(older)
		imagetest.Half{Level: 1, Events: 5, Role: 1}.RootInArray(split)
		return two(older, split)
	case "data":
		return two(split, imagetest.MBR(make([]byte, 1<<20)))
	case "machines":
		return imagetest.Tar(t, imagetest.Member{Name: "m.ovf", Data: []byte(machines)}, imagetest.Member{Name: "one.img", Data: split}, imagetest.Member{Name: "two.img", Data: split})
	case "missing":
		return imagetest.Tar(t, imagetest.Member{Name: "m.ovf", Data: []byte(machines)}, imagetest.Member{Name: "one.img", Data: split})
	case "climbs":
		return imagetest.OVA(t, imagetest.Member{Name: "../one.img", Data: split})
	}
	t.Fatalf("no appliance of the kind %q", kind)
	return nil
}

// machines is the OVF of two machines, in a collection and with another prefix.
const machines = `<o:Envelope xmlns:o="http://schemas.dmtf.org/ovf/envelope/1" xmlns:r="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
<o:References><o:File o:id="f1" o:href="one.img"/><o:File o:id="f2" o:href="two.img"/></o:References>
<o:DiskSection><o:Disk o:diskId="d1" o:fileRef="f1"/><o:Disk o:diskId="d2" o:fileRef="f2"/></o:DiskSection>
<o:VirtualSystemCollection o:id="both">
<o:VirtualSystem o:id="web"><o:VirtualHardwareSection><o:Item><r:HostResource>ovf:/disk/d1</r:HostResource></o:Item></o:VirtualHardwareSection></o:VirtualSystem>
<o:VirtualSystem o:id="db"><o:VirtualHardwareSection><o:Item><r:HostResource>/disk/d2</r:HostResource></o:Item></o:VirtualHardwareSection></o:VirtualSystem>
</o:VirtualSystemCollection></o:Envelope>`

// until REGEXP COMMAND... runs a command until it prints what matches.
func until(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile(args[0])
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if ts.Exec(args[1], args[2:]...) == nil && want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s never printed what matches %s", strings.Join(args[1:], " "), args[0])
		}
	}
}

// exits CODE COMMAND... runs a command that must end with a code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("%s ended with %s, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}
