package host

import (
	"slices"
	"testing"
	"time"

	"github.com/droveway/droveway"
)

var allRoles = []Role{RoleNone, RoleIdle, RoleHome, RoleLeaving, RoleSecondary, RoleArriving, RoleHydrating, RoleReturned}

// takes are the roles in which a host carries a command out, or has done so
// already; the diagram of Role says why.
var takes = map[string][]Role{
	verbCreate:    {RoleNone, RoleIdle, RoleHome},
	verbStart:     {RoleIdle, RoleHome},
	verbStop:      {RoleIdle, RoleHome},
	verbResize:    {RoleIdle, RoleHome},
	verbReserve:   {RoleNone, RoleArriving},
	verbDiscard:   {RoleArriving, RoleReturned, RoleNone},
	verbSecondary: {RoleHome, RoleLeaving, RoleSecondary},
	verbSend:      {RoleHome, RoleLeaving, RoleHydrating},
	verbCancel:    {RoleIdle, RoleHome, RoleLeaving, RoleHydrating},
	verbHandover:  {RoleLeaving, RoleSecondary},
	verbTakeOver:  {RoleArriving, RoleHydrating, RoleHome},
	verbRate:      {RoleHydrating, RoleHome},
	verbHold:      {RoleHydrating},
	verbVerdict:   {RoleHydrating, RoleHome},
	verbRevoke:    {RoleSecondary, RoleLeaving, RoleIdle, RoleHome},
	verbRelease:   {RoleSecondary, RoleNone},
	verbWelcome:   {RoleSecondary},
	verbUnwelcome: {RoleSecondary},
	verbGiveBack:  {RoleHydrating, RoleReturned},
	verbHome:      {RoleSecondary, RoleHome},
	verbLeave:     {RoleHome, RoleIdle, RoleSecondary},
	verbProbe:     {RoleHome, RoleHydrating},
}

// SYSTEMS 1.9: in every other role a command is refused, says why, and changes
// nothing.
func TestWrongRoleIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	n.stop()
	before := map[Role]record{}
	for _, role := range allRoles {
		rec := record{Instance: Instance{Machine: string(role), Token: 5, UUID: "one"}, Role: role}
		must(t, n.records.save(&rec))
		before[role] = rec
	}
	n.start()
	for _, verb := range commands {
		for _, role := range allRoles {
			if verb == verbRemove || slices.Contains(takes[verb], role) {
				continue
			}
			says := "machine " + string(role) + " is " + string(role) + " on this host: " + verb + " is for ["
			refused(t, r.give(verb, string(role), 5), droveway.Conflict, says)
		}
	}
	for _, role := range allRoles {
		rec, err := n.records.read(string(role))
		if was := before[role]; err != nil || rec == nil || rec.Role != role || rec.Instance.Token != was.Instance.Token {
			t.Errorf("the record of %s became %+v, %v", role, rec, err)
		}
	}
}

// What reads a host has no role to be refused in, but for what it asks for.
func TestQuestionsWithoutAnInstance(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.host("a")
	_, err := r.Await(t.Context(), "a", ref(5))
	refused(t, err, droveway.Conflict, "machine web does not run here")
	_, err = r.Sums(t.Context(), "a", Sums{Ref: ref(5), Disk: "root"})
	refused(t, err, droveway.Conflict, "there is nothing to compare")
	h, err := r.Hydration(t.Context(), "a", ref(5))
	if err != nil || h.Instance != "gone" {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestCommandsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.host("a")
	refused(t, r.give(verbCreate, "../web", 5), droveway.Invalid, "machine name")
	refused(t, r.give(verbCreate, "", 5), droveway.Invalid, "machine name is empty")
	refused(t, r.conn.Call(t.Context(), "a", verbStart, []int{1}, nil), droveway.Invalid, "are server and host of the same version?")
	refused(t, r.give("fly", web, 5), droveway.Unsupported, "fly")
}

// A guest that is waited for, to give a sign of life, can move and stop meanwhile; the
// wait ends with it.
func TestProbeHoldsNothingUp(t *testing.T) {
	t.Parallel()
	r, ctx := newRig(t), t.Context()
	n := r.host("a")
	n.runs(5)
	ended := make(chan error, 1)
	go func() {
		_, err := r.Probe(ctx, "a", Probe{Ref: ref(5), Within: time.Hour, Boots: true})
		ended <- err
	}()
	eventually(t, "the guest is waited for", func() bool {
		n.tasks.mu.Lock()
		defer n.tasks.mu.Unlock()
		for key := range n.tasks.running {
			if key.verb == verbProbe {
				return true
			}
		}
		return false
	})
	begun := time.Now()
	_, err := r.Secondary(ctx, "a", Secondary{Ref: ref(5)})
	must(t, err)
	if took := time.Since(begun); took >= waitMax {
		t.Errorf("the first step of its move took %s", took)
	}
	_, err = r.Cancel(ctx, "a", ref(5))
	must(t, err)
	_, err = r.Stop(ctx, "a", Stop{Ref: ref(5)})
	must(t, err)
	if err := <-ended; err == nil {
		t.Error("a guest that was stopped gave a sign of life")
	}
}

// Nobody waits for a sign of life of a guest that has died.
func TestProbeOfAGuestThatDies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	n := r.host("a")
	n.runs(5)
	guest := n.guest()
	time.AfterFunc(100*time.Millisecond, guest.Kill)
	_, err := r.Probe(t.Context(), "a", Probe{Ref: ref(5), Within: time.Hour, Boots: true})
	refused(t, err, droveway.Conflict, "machine web does not run here")
}
