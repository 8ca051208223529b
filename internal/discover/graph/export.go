package graph

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/discover"
)

// Format is how edges are written.
type Format string

// The formats.
const (
	CSV     Format = "csv"
	JSON    Format = "json"
	DOT     Format = "dot"     // of Graphviz
	Mermaid Format = "mermaid" // a flowchart
)

// Export writes edges. CSV and JSON have all of each, DOT and Mermaid draw
// services in their hosts.
func Export(w io.Writer, f Format, edges []Edge) error {
	switch f {
	case CSV:
		return writeCSV(w, edges)
	case JSON:
		return writeJSON(w, edges)
	case DOT:
		return draw(w, edges, dot{})
	case Mermaid:
		return draw(w, edges, mermaid{})
	}
	return droveway.Errorf(droveway.Invalid, "there is no format %q: csv, json, dot or mermaid", f)
}

func writeJSON(w io.Writer, edges []Edge) error {
	if edges == nil {
		edges = []Edge{}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(edges)
}

var columns = []string{
	"id", "client", "client_service", "client_address", "seen_as", "server", "server_service", "dialled",
	"protocol", "port", "state", "evidence", "confidence", "connections", "first", "last",
}

func writeCSV(w io.Writer, edges []Edge) error {
	c := csv.NewWriter(w)
	if err := c.Write(columns); err != nil {
		return err
	}
	for _, e := range edges {
		if err := c.Write(row(e)); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

func row(e Edge) []string {
	var p Path
	if len(e.Paths) > 0 {
		p = e.Paths[len(e.Paths)-1]
	}
	fields := []string{
		e.ID, name(e.Client), e.Client.Service.Name(), text(p.Source), text(p.Seen),
		name(e.Server), e.Server.Service.Name(), text(p.Dialled),
		e.Protocol, strconv.Itoa(int(e.Port)), string(e.State), kinds(e.Evidence), strconv.FormatFloat(e.Confidence, 'f', 6, 64),
		strconv.Itoa(e.Count), e.First.UTC().Format(time.RFC3339), e.Last.UTC().Format(time.RFC3339),
	}
	for i, f := range fields {
		fields[i] = harmless(f)
	}
	return fields
}

// text leaves out what is not known.
func text[A interface {
	IsValid() bool
	String() string
}](a A) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func kinds(all []Evidence) string {
	var k []string
	for _, v := range all {
		k = append(k, string(v.Kind))
	}
	return strings.Join(k, "+")
}

// harmless keeps spreadsheets from taking a process's name for a formula (OWASP,
// CSV Injection).
func harmless(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// drawer writes a drawing of one kind.
type drawer interface {
	begin() string
	group(i int, host string) string
	node(id, label string) string
	endGroup() string
	edge(from, to, label string, stale bool) string
	end() string
}

// draw writes the services of each host in a frame, then the edges.
func draw(w io.Writer, edges []Edge, d drawer) error {
	var b strings.Builder
	b.WriteString(d.begin())
	ids := map[discover.Party]string{}
	for i, g := range frames(edges) {
		b.WriteString(d.group(i, g.name))
		for _, p := range g.parties {
			ids[p] = fmt.Sprint("n", len(ids))
			b.WriteString(d.node(ids[p], label(p)))
		}
		b.WriteString(d.endGroup())
	}
	for _, e := range edges {
		l := fmt.Sprintf("%s %d", e.Protocol, e.Port)
		b.WriteString(d.edge(ids[e.Client], ids[e.Server], l, e.State != Active))
	}
	b.WriteString(d.end())
	_, err := io.WriteString(w, b.String())
	return err
}

func label(p discover.Party) string {
	if p.Host == "" {
		return "no probe"
	}
	return p.Service.Name()
}

type frame struct {
	name    string
	parties []discover.Party
}

// frames gives the parties by host, in the order in which they come.
func frames(edges []Edge) []*frame {
	var all []*frame
	byName := map[string]*frame{}
	seen := map[discover.Party]bool{}
	for _, e := range edges {
		for _, p := range []discover.Party{e.Client, e.Server} {
			if seen[p] {
				continue
			}
			seen[p] = true
			f := byName[name(p)]
			if f == nil {
				f = &frame{name: name(p)}
				byName[f.name] = f
				all = append(all, f)
			}
			f.parties = append(f.parties, p)
		}
	}
	return all
}

type dot struct{}

func (dot) begin() string    { return "digraph relations {\n  rankdir=LR;\n  node [shape=box];\n" }
func (dot) endGroup() string { return "  }\n" }
func (dot) end() string      { return "}\n" }

func (dot) group(i int, host string) string {
	return fmt.Sprintf("  subgraph cluster_%d {\n    label=%s;\n", i, dotQuote(host))
}

func (dot) node(id, label string) string {
	return fmt.Sprintf("    %s [label=%s];\n", id, dotQuote(label))
}

func (dot) edge(from, to, label string, stale bool) string {
	style := ""
	if stale {
		style = ", style=dashed"
	}
	return fmt.Sprintf("  %s -> %s [label=%s%s];\n", from, to, dotQuote(label), style)
}

func dotQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", " ").Replace(s) + `"`
}

type mermaid struct{}

func (mermaid) begin() string    { return "flowchart LR\n" }
func (mermaid) endGroup() string { return "  end\n" }
func (mermaid) end() string      { return "" }

func (mermaid) group(i int, host string) string {
	return fmt.Sprintf("  subgraph g%d[%s]\n", i, mermaidQuote(host))
}

func (mermaid) node(id, label string) string {
	return fmt.Sprintf("    %s[%s]\n", id, mermaidQuote(label))
}

func (mermaid) edge(from, to, label string, stale bool) string {
	arrow := "-->"
	if stale {
		arrow = "-.->"
	}
	return fmt.Sprintf("  %s %s|%s| %s\n", from, arrow, mermaidQuote(label), to)
}

// mermaidQuote writes what could end a label or become markup as character
// references, which Mermaid writes with # instead of &.
func mermaidQuote(s string) string {
	return `"` + strings.NewReplacer("#", "#35;", `"`, "#quot;", "<", "#lt;", ">", "#gt;", "`", "#96;", "\n", " ").Replace(s) + `"`
}
