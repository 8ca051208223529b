package host

import (
	"path/filepath"
	"testing"

	"github.com/droveway/droveway/internal/engine/bus/bustest"
)

// A change that cannot be written down is not made.
func TestRecordThatCannotBeKept(t *testing.T) {
	t.Parallel()
	a, err := New(Config{Name: "a", Dir: t.TempDir(), Log: bustest.Log()})
	must(t, err)
	m := a.machine(web)
	must(t, a.save(m, func(r *record) { *r = record{Instance: instance(5), Role: RoleArriving} }))
	a.records.dir = filepath.Join(a.records.path(web), "none")
	if err := a.save(m, func(r *record) { r.Role = RoleHydrating }); err == nil {
		t.Fatal("a record was kept in no directory")
	}
	if m.rec.Role != RoleArriving || m.record().Role != RoleArriving {
		t.Errorf("role %s, seen as %s: want %s, as on the disk", m.rec.Role, m.record().Role, RoleArriving)
	}
}
