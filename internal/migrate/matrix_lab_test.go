//go:build lab

package migrate_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/droveway/droveway/internal/lab/observer"
)

type summary = observer.Summary

// outcome is a cell of the matrix.
type outcome struct {
	Job      string `json:"job"`
	Step     string `json:"step"`
	Accident string `json:"accident"`
	State    string `json:"state"`
	Error    string `json:"error,omitempty"`
	Live     string `json:"live"`
	Why      string `json:"why"`
	Boots    int    `json:"boots"` // of this cell
	Lost     uint64 `json:"lost"`
	Wrong    uint64 `json:"wrong"`
	TookMS   int64  `json:"took_ms"`
	OK       bool   `json:"ok"`
}

// fill notes how a cell has ended.
func (o *outcome) fill(c *cell) {
	r, after := result(c.T, c.job), c.g.Observer.Summary()
	o.State, o.Error, o.Live, o.Why = string(c.job.State), c.job.Error, r.Live, r.Why
	o.Boots = len(after.Boots()) - len(c.before.Boots())
	o.Lost, o.Wrong = after.Rewound()-c.before.Rewound(), after.Wrong()-c.before.Wrong()
	o.TookMS = time.Since(c.begun).Milliseconds()
}

// matrix is the outcomes so far.
type matrix struct {
	all  []outcome
	none []omission
}

// omission is a cell that there cannot be.
type omission struct {
	Job      string `json:"job"`
	Step     string `json:"step"`
	Accident string `json:"accident"`
	Why      string `json:"why"`
}

func (m *matrix) leaveOut(r row, a accident, why string) {
	m.none = append(m.none, omission{string(r.job), r.step, a.name, why})
}

// at says in a word how a cell has ended.
func (m *matrix) at(r row, accident string) string {
	for _, o := range m.all {
		if o.Job == string(r.job) && o.Step == r.step && o.Accident == accident {
			return o.word()
		}
	}
	if slices.ContainsFunc(m.none, func(o omission) bool {
		return o.Job == string(r.job) && o.Step == r.step && o.Accident == accident
	}) {
		return "-"
	}
	return ""
}

func (o *outcome) word() string {
	switch {
	case !o.OK:
		return "RED"
	case o.State == "succeeded" && o.Boots == job(o.Job).boots():
		return "done"
	case o.State == "succeeded":
		return "done, booted"
	case o.Boots > 0:
		return "source, booted"
	}
	return "source"
}

// print shows the table and writes it to out/faults.json.
func (m *matrix) print(t *testing.T) {
	t.Helper()
	var b, notes strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintf(w, "\t%s", r)
	}
	for _, a := range accidents {
		fmt.Fprintf(w, "\n%s", a.name)
		for _, r := range rows {
			fmt.Fprintf(w, "\t%s", m.at(r, a.name))
		}
	}
	fmt.Fprintln(w)
	for _, o := range m.omissions() {
		fmt.Fprintln(&notes, o)
	}
	check(t, w.Flush())
	b.WriteString(notes.String())
	red := slices.ContainsFunc(m.all, func(o outcome) bool { return !o.OK })
	t.Logf("%d cells, all sound: %t; done: the job succeeded; source: the machine goes on there, without or with a boot\n%s", len(m.all), !red, b.String())
	m.keep(t)
}

// omissions says, for each accident and reason, in which steps it cannot happen.
func (m *matrix) omissions() (all []string) {
	steps, order := map[[2]string][]string{}, [][2]string{}
	for _, o := range m.none {
		key := [2]string{o.Accident, o.Why}
		if len(steps[key]) == 0 {
			order = append(order, key)
		}
		steps[key] = append(steps[key], o.Job+" "+o.Step)
	}
	for _, key := range order {
		all = append(all, fmt.Sprintf("- %s in %s: %s", key[0], strings.Join(steps[key], ", "), key[1]))
	}
	return all
}

func (m *matrix) keep(t *testing.T) {
	t.Helper()
	dir := filepath.Join("..", "..", "out")
	check(t, os.MkdirAll(dir, 0o755))
	b, err := json.MarshalIndent(map[string]any{"cells": m.all, "left_out": m.none}, "", "  ")
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "faults.json"), append(b, '\n'), 0o644))
}
