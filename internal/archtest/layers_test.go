package archtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The layers of docs/ARCHITECTURE.md. A package may import what is listed, and
// the packages of its own unit: a unit is one of the paths with all below it.
// Whatever stands nowhere is a system, and systems do not import each other: they
// meet through objects, jobs and events.
//
//	nouns ◀─ engine ◀──────── tables ◀─┐
//	  ▲                                ├─ systems ◀─ console ◀─ roles ◀─ program
//	  └─── protocols ◀─ resources ◀────┤
//	  └─────────────── pure ◀──────────┘
const (
	nouns     = "nouns"
	engine    = "engine"
	protocols = "protocols"
	resources = "resources"
	tables    = "tables"
	pure      = "pure"
	systems   = "systems"
	api       = "api"
	console   = "console" // what people and programs outside speak to
	commands  = "commands"
	roles     = "roles"
	program   = "program"
	kit       = "kit" // for tests, measurements and the lab: no part of the product
)

type layer struct {
	name  string
	units []string
	may   []string
}

func layers() []layer {
	return []layer{
		{nouns, []string{"."}, nil},
		{engine, []string{"internal/engine"}, []string{nouns}},
		{protocols, []string{"internal/qmp", "internal/nbd"}, []string{nouns}},
		{resources, []string{"internal/hypervisor", "internal/volume", "internal/network"}, []string{nouns, protocols}},
		{tables, []string{"internal/fleet"}, []string{nouns, engine}},
		{pure, []string{"internal/place"}, []string{nouns}},
		{systems, nil, []string{nouns, engine, protocols, resources, tables, pure}},
		{api, []string{"client"}, []string{nouns}},
		{console, []string{"internal/httpapi", "web"}, []string{nouns, engine, resources, tables, pure, systems, api}},
		{commands, []string{"internal/cli"}, []string{nouns, api}},
		{roles, []string{"internal/daemon"}, []string{nouns, engine, protocols, resources, tables, pure, systems, api, console, commands}},
		{program, []string{"cmd"}, []string{commands, roles}},
		{kit, []string{"internal/lab", "internal/archtest", "bench"}, []string{nouns, engine, protocols, resources, tables, pure, systems, api, console, commands, roles, program, kit}},
	}
}

// exceptions are imports that the layers forbid, each with its reason.
func exceptions() map[string]string {
	return map[string]string{
		"internal/fleet -> internal/host":           "the table of what hosts observe holds the host's own wire type",
		"internal/machine -> internal/host":         "commands to hosts: the wire types and the client",
		"internal/migrate -> internal/host":         "commands to hosts: the wire types and the client",
		"internal/migrate -> internal/machine":      "a move claims its machine as every job does, and runs the same instance elsewhere",
		"internal/cli -> internal/image/identify":   "droveway image inspect reads a file without a server",
		"internal/cli -> internal/image/inspect":    "droveway image inspect reads a file without a server",
		"internal/cli -> internal/image/source":     "droveway image import signs links to S3 with keys that stay with the user",
		"internal/cli -> internal/image/survey":     "droveway image import looks at a file before it sends it",
		"internal/cli -> internal/image/filesystem": "the files of an inspected system are handed on to the planning of a repair",
		"internal/cli -> internal/image/repair":     "droveway image inspect says what a repair would change",
		"internal/cli -> internal/image/preflight":  "droveway image import --dry-run says what a repair would change",
		"internal/cli -> internal/image/luks":       "the keys for that are read from files here",
		"internal/cli -> internal/lab":              "droveway lab is a command of the program",
		"internal/cli -> internal/lab/demo":         "droveway lab is a command of the program",
	}
}

// placeOf is the layer and the unit of a package.
func placeOf(pkg string) (layer, string) {
	if isKit(pkg) {
		return layerNamed(kit), pkg
	}
	for _, l := range layers() {
		for _, u := range l.units {
			if pkg == u || u != "." && strings.HasPrefix(pkg, u+"/") {
				return l, u
			}
		}
	}
	parts := strings.SplitN(pkg, "/", 3) // internal/<system>/…
	return layerNamed(systems), strings.Join(parts[:min(2, len(parts))], "/")
}

func layerNamed(name string) layer {
	all := layers()
	return all[slices.IndexFunc(all, func(l layer) bool { return l.name == name })]
}

// isKit reports whether a package is for the tests of another one.
func isKit(pkg string) bool {
	return strings.HasSuffix(pkg, "test") && pkg != "."
}

// forbidden says why a package may not import another; empty: it may.
func forbidden(from, to string) string {
	l, unit := placeOf(from)
	m, other := placeOf(to)
	if unit == other || slices.Contains(l.may, m.name) {
		return ""
	}
	return fmt.Sprintf("%s (%s) imports %s (%s), which its layer may not", from, l.name, to, m.name)
}

// within turns an import into a package of this repository.
func within(imported string) (pkg string, ok bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

func TestLayers(t *testing.T) {
	t.Parallel()
	unused := exceptions()
	var problems []string
	for from, files := range packages(source(t)) {
		for _, f := range files {
			for _, i := range f.imports() {
				to, ok := within(i)
				if !ok {
					continue
				}
				arrow := from + " -> " + to
				if _, excused := exceptions()[arrow]; excused {
					delete(unused, arrow)
					continue
				}
				if why := forbidden(from, to); why != "" {
					problems = append(problems, why)
				}
			}
		}
	}
	for arrow := range unused {
		problems = append(problems, "exception "+arrow+" is not needed any more: take it out")
	}
	report(t, problems)
}

// The nouns are read first, and by everybody: they need nothing but the
// language.
func TestNounsImportTheStandardLibraryOnly(t *testing.T) {
	t.Parallel()
	for _, f := range packages(source(t))["."] {
		for _, i := range f.imports() {
			if first, _, _ := strings.Cut(i, "/"); strings.Contains(first, ".") {
				t.Errorf("%s imports %s", f.path, i)
			}
		}
	}
}

func TestForbidden(t *testing.T) {
	t.Parallel()
	tests := []struct {
		from, to string
		may      bool
	}{
		{".", "internal/engine/bus", false},
		{"internal/engine/job", ".", true},
		{"internal/engine/job", "internal/engine/lease", true},
		{"internal/engine/job", "internal/hypervisor", false},
		{"internal/hypervisor/qemu", "internal/qmp", true},
		{"internal/hypervisor/qemu", "internal/hypervisor", true},
		{"internal/hypervisor", "internal/volume", false},
		{"internal/hypervisor", "internal/engine/bus", false},
		{"internal/volume", "internal/host", false},
		{"internal/host", "internal/volume", true},
		{"internal/machine", "internal/image", false},
		{"internal/machine", "internal/image/format", false},
		{"internal/image/format", "internal/image/block", true},
		{"internal/place", "internal/engine/store", false},
		{"internal/something-new", "internal/engine/bus", true},
		{"internal/something-new", "internal/machine", false},
		{"internal/httpapi", "internal/machine", true},
		{"internal/httpapi", "internal/daemon", false},
		{"internal/machine", "internal/httpapi", false},
		{"internal/cli", "internal/machine", false},
		{"client", "internal/httpapi", false},
		{"internal/daemon", "internal/cli", true},
		{"cmd/droveway", "internal/machine", false},
		{"internal/machine", "internal/engine/bus/bustest", false},
		{"internal/engine/bus", "internal/engine/bus/bustest", false},
		{"internal/engine/job/jobtest", "internal/engine/job", true},
		{"internal/daemon", "internal/lab", false},
		{"bench/move", "internal/lab/check", true},
	}
	for _, tt := range tests {
		if why := forbidden(tt.from, tt.to); (why == "") != tt.may {
			t.Errorf("%s -> %s: %q", tt.from, tt.to, why)
		}
	}
}
