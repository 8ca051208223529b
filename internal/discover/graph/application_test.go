package graph

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
)

// twoApplications are two groups of five that share a name server.
func twoApplications() *Graph {
	g := New(Config{})
	for _, app := range []string{"crm", "erp"} {
		for i := range 4 {
			for k := range i {
				apply(g, fmt.Sprintf("%s%d/x>%s%d/x", app, i, app, k))
			}
		}
	}
	for i := range 4 {
		apply(g, fmt.Sprintf("crm%d/x>dns/dnsmasq", i), fmt.Sprintf("erp%d/x>dns/dnsmasq", i))
	}
	for i := range 20 {
		apply(g, fmt.Sprintf("desk%d/x>dns/dnsmasq", i))
	}
	apply(g, "crm0/x>erp0/x")
	return g
}

func TestApplications(t *testing.T) {
	g := twoApplications()
	find := func(name string) Application {
		for _, a := range g.Applications() {
			if a.Name == name {
				return a
			}
		}
		return Application{}
	}
	for _, app := range []string{"crm", "erp"} {
		want := Application{Name: "app-" + app + "0", Hosts: []string{app + "0", app + "1", app + "2", app + "3"}, Shared: []string{"dns"}}
		if d := cmp.Diff(want, find(want.Name)); d != "" {
			t.Error(d)
		}
	}
	if err := g.SetGroup("mine", []string{"crm0", "erp0"}); err != nil {
		t.Fatal(err)
	}
	if a := find("mine"); !a.User || len(a.Hosts) != 2 {
		t.Errorf("%+v", a)
	}
	if a := find("app-crm1"); len(a.Hosts) != 3 {
		t.Errorf("%+v", a)
	}
	if err := g.SetGroup("No Name", nil); !droveway.Is(err, droveway.Invalid) {
		t.Error(err)
	}
	if err := g.SetGroup("mine", nil); err != nil || find("mine").Name != "" {
		t.Error("the group is still there", err)
	}
}
