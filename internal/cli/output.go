package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/goccy/go-yaml"

	"github.com/droveway/droveway"
)

// column is one column of a table. Wide columns are shown for a single object
// only.
type column[T any] struct {
	title string
	value func(T) string
	wide  bool
}

func validOutput(format string) error {
	switch format {
	case "table", "json", "yaml":
		return nil
	}
	return droveway.Errorf(droveway.Invalid, "output format %q: use table, json or yaml", format)
}

// printList prints objects, one in a line.
func printList[T any](a *app, items []T, columns []column[T]) error {
	if a.output != "table" {
		if items == nil {
			items = []T{} // an empty list is [], not null
		}
		return a.encode(items)
	}
	w := tabwriter.NewWriter(a.env.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(cells(columns, func(c column[T]) string { return strings.ToUpper(c.title) }), "\t"))
	for _, it := range items {
		fmt.Fprintln(w, strings.Join(cells(columns, func(c column[T]) string { return dash(plain(c.value(it))) }), "\t"))
	}
	return flush(w)
}

func cells[T any](columns []column[T], cell func(column[T]) string) []string {
	var out []string
	for _, c := range columns {
		if !c.wide {
			out = append(out, cell(c))
		}
	}
	return out
}

// printOne prints one object, a column in a line.
func printOne[T any](a *app, it T, columns []column[T]) error {
	if a.output != "table" {
		return a.encode(it)
	}
	w := tabwriter.NewWriter(a.env.Out, 0, 0, 2, ' ', 0)
	for _, c := range columns {
		if v := c.value(it); v != "" || !c.wide {
			fmt.Fprintf(w, "%s\t%s\n", c.title, dash(plain(v)))
		}
	}
	return flush(w)
}

func flush(w *tabwriter.Writer) error {
	if err := w.Flush(); err != nil {
		return droveway.Errorf(droveway.Unavailable, "write the output: %w", err)
	}
	return nil
}

// plain makes a text fit for a terminal, to which control characters are commands:
// some texts come from far away. A column may have several lines.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return '?'
		}
		return r
	}, s)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// encode prints any value as JSON or YAML, with the names of the API in both.
func (a *app) encode(v any) error {
	raw, err := readable(v)
	if err == nil && a.output == "yaml" {
		raw, err = yaml.JSONToYAML(raw)
	}
	if err != nil {
		return droveway.Errorf(droveway.Internal, "print the result: %w", err)
	}
	return writeLine(a.env.Out, strings.TrimRight(string(raw), "\n"))
}

// readable is JSON for eyes, too: json.Marshal writes <, > and & as a browser needs them.
func readable(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return b.Bytes(), err
}

func writeLine(w io.Writer, line string) error {
	if _, err := io.WriteString(w, line+"\n"); err != nil {
		return droveway.Errorf(droveway.Unavailable, "write the output: %w", err)
	}
	return nil
}

// stamp prints a time, in the zone of the reader.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}
