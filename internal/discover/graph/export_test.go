package graph

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
)

func TestExports(t *testing.T) {
	g := New(Config{})
	apply(g, "a/=cmd|\"x\"<b`#>b/nginx")
	g.Apply(finding("b/nginx", "192.0.2.1", discover.OneSided, noon))
	edges := g.List(Filter{})
	edges[1].State = Stale
	out := map[Format]string{}
	for _, f := range []Format{CSV, JSON, DOT, Mermaid} {
		var b bytes.Buffer
		if err := Export(&b, f, edges); err != nil {
			t.Fatal(err)
		}
		out[f] = b.String()
	}
	rows, err := csv.NewReader(strings.NewReader(out[CSV])).ReadAll()
	if err != nil || len(rows) != 3 || !strings.HasPrefix(rows[1][2], "'=") {
		t.Errorf("%v %q", err, rows)
	}
	var back []Edge
	if err := json.Unmarshal([]byte(out[JSON]), &back); err != nil || cmp.Diff(edges, back, bytip) != "" {
		t.Errorf("%v %s", err, cmp.Diff(edges, back, bytip))
	}
	for f, parts := range map[Format][]string{
		DOT:     {`label="a"`, `label="=cmd|\"x\"<b` + "`#", `n1 -> n2 [label="tcp 80", style=dashed];`},
		Mermaid: {`subgraph g0["a"]`, `=cmd|#quot;x#quot;#lt;b#96;#35;`, `n0 -->|"tcp 80"| n1`, `n1 -.->`},
	} {
		for _, p := range parts {
			if !strings.Contains(out[f], p) {
				t.Errorf("%s has no %s:\n%s", f, p, out[f])
			}
		}
	}
	if err := Export(&bytes.Buffer{}, "png", nil); !droveway.Is(err, droveway.Invalid) {
		t.Error(err)
	}
	var empty bytes.Buffer
	if err := Export(&empty, JSON, nil); err != nil || strings.TrimSpace(empty.String()) != "[]" {
		t.Errorf("%v %q", err, empty.String())
	}
}
