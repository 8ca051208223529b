//go:build lab

package migrate_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/scene"
)

// variables are the firmware's variables of a machine on a host.
func variables(t *testing.T, host, machine string) []byte {
	t.Helper()
	b, err := os.ReadFile(stage.Lab.Dir(host) + "/firmware/" + machine + ".vars")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// marked stands at the end of variables, where the firmware writes only when it makes
// room. What it writes elsewhere at every boot is the same on any host.
const marked = "from the second host"

func mark(t *testing.T, host, machine string) {
	t.Helper()
	f, err := os.OpenFile(stage.Lab.Dir(host)+"/firmware/"+machine+".vars", os.O_WRONLY, 0)
	check(t, err)
	defer f.Close()
	info, err := f.Stat()
	check(t, err)
	_, err = f.WriteAt([]byte(marked), info.Size()-int64(len(marked)))
	check(t, err)
}

// TestMoveWithUEFI moves a guest that has booted by UEFI, and then boots it on the
// first host again: its firmware's variables are with it each time, and nowhere else.
func TestMoveWithUEFI(t *testing.T) {
	g := guest(t, scene.GuestConfig{Name: "uefi", MemoryMiB: 256, Firmware: droveway.UEFI}) // GRUB needs that much
	first := hostOf(t, g)
	second := other(first)
	before := variables(t, first, g.Name)
	empty, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.fd")
	if err != nil || bytes.Equal(before, empty) {
		t.Fatalf("the firmware has written no variables (%v)", err)
	}
	j, err := stage.API.MoveMachine(t.Context(), g.Name, client.MoveRequest{To: second}, "")
	if _, err = stage.Must(t.Context(), j, err); err != nil {
		t.Fatal(err)
	}
	works(t, g)
	if boots := g.Observer.Summary().Boots(); len(boots) != 1 {
		t.Errorf("boots %v, want one", boots)
	}
	if !bytes.Equal(variables(t, second, g.Name), before) {
		t.Error("the variables did not move with the memory")
	}
	mustBeGone(t, first, g.Name)
	mark(t, second, g.Name)
	j, err = stage.API.RestartMachine(t.Context(), g.Name, client.RestartRequest{To: first}, "")
	if _, err = stage.Must(t.Context(), j, err); err != nil {
		t.Fatal(err)
	}
	works(t, g)
	if !bytes.HasSuffix(variables(t, first, g.Name), []byte(marked)) {
		t.Error("the variables did not go along with a restart")
	}
	mustBeGone(t, second, g.Name)
	nothingLost(t, g)
}
