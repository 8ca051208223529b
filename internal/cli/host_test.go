package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/droveway/droveway"
)

// The list says that a host holds machines, and show says which and why.
func TestHeldMachinesAreShown(t *testing.T) {
	t.Parallel()
	h := droveway.Host{Meta: droveway.Meta{Name: "a"}, Spec: droveway.HostSpec{Cordoned: true}, Status: droveway.HostStatus{
		State: droveway.HostReady, Held: []droveway.HeldMachine{{Machine: "web-1", Message: "no record"}, {Machine: "web-2", Message: "no handle"}},
	}}
	var out bytes.Buffer
	a := &app{env: Env{Out: &out}, output: "table"}
	if err := printList(a, []droveway.Host{h}, hostColumns); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "ready, cordoned, 2 held") {
		t.Errorf("the list:\n%s", out.String())
	}
	out.Reset()
	if err := printOne(a, h, hostColumns); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"held ", "web-1: no record\n", "web-2: no handle\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, out.String())
		}
	}
}
