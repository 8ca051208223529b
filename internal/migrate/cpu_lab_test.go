//go:build lab

package migrate_test

import (
	"context"
	"strings"
	"testing"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
	"github.com/droveway/droveway/internal/lab/scene"
)

// A guest that has seen flags of the CPU that the other host does not give is
// refused before anything has changed, and told what is missing. One whose CPU
// both give moves, and boots with the same CPU wherever it is.
func TestMoveBetweenUnlikeHosts(t *testing.T) {
	old := stage.Lab.Hosts()[1]
	g := guest(t, scene.GuestConfig{Name: "modern"})
	modest := guest(t, scene.GuestConfig{Name: "modest", CPU: "x86-64-v2"})
	hide(t, old, "avx2,fma")
	t.Cleanup(func() { hide(t, old, "") })
	_, err := stage.API.PlanMove(t.Context(), g.Name, client.MoveRequest{To: old})
	if !droveway.Is(err, droveway.Unsupported) || !strings.Contains(err.Error(), old+" lacks avx2, fma") {
		t.Errorf("plan: %v, want that host %s lacks avx2, fma", err, old)
	}
	if j, err := stage.API.MoveMachine(t.Context(), g.Name, client.MoveRequest{To: old}, ""); !droveway.Is(err, droveway.Unsupported) {
		t.Errorf("move: job %q, %v; want that it is refused", j.Name, err)
	}
	works(t, g)
	j, err := stage.API.MoveMachine(t.Context(), modest.Name, client.MoveRequest{To: old}, "")
	if _, err = stage.Must(t.Context(), j, err); err != nil {
		t.Fatal(err)
	}
	works(t, modest)
	if boots := modest.Observer.Summary().Boots(); len(boots) != 1 {
		t.Errorf("boots %v, want one", boots)
	}
}

// hide starts a host anew with flags of the CPU that its guests do not get.
func hide(t *testing.T, host, flags string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	check(t, stage.Lab.KillHost(host))
	var more []string
	if flags != "" {
		more = []string{"--hide-cpu=" + flags}
	}
	check(t, stage.Lab.StartHost(ctx, host, more...))
	told := eventually(func() bool {
		h, err := stage.API.Host(ctx, host)
		return err == nil && h.Status.State == droveway.HostReady && (h.Status.Capabilities["cpu.avx2"] == "") == (flags != "")
	})
	if !told {
		t.Fatalf("host %s does not tell of its CPU", host)
	}
}
