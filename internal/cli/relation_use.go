package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

func badOptOut(s string) error {
	return droveway.Errorf(droveway.Invalid, "--opt-out %q: give addresses such as 192.0.2.0/24 or 192.0.2.1, or one port of them such as 192.0.2.1:443 or 192.0.2.0/24:443", s)
}

func parsePorts(all []uint) ([]uint16, error) {
	out := []uint16{}
	for _, p := range all {
		if p == 0 || p > 65535 {
			return nil, droveway.Errorf(droveway.Invalid, "--deny-port %d: ports are 1 to 65535", p)
		}
		out = append(out, uint16(p))
	}
	return out, nil
}

var applicationColumns = []column[client.Application]{
	{title: "name", value: func(p client.Application) string { return p.Name }},
	{title: "made by", value: func(p client.Application) string {
		if p.User {
			return "user"
		}
		return "found"
	}},
	{title: "hosts", value: func(p client.Application) string { return strings.Join(p.Hosts, " ") }},
	{title: "uses", value: func(p client.Application) string { return strings.Join(p.Shared, " ") }},
}

func relationApps(a *app) *cobra.Command {
	return a.verb("apps", "List the groups of hosts that belong together", nil, func(r run) error {
		all, err := r.api.Applications(r.ctx)
		if err != nil {
			return err
		}
		return printList(a, all, applicationColumns)
	})
}

func relationGroup(a *app) *cobra.Command {
	var hosts []string
	c := a.verb("group NAME", "Say which hosts belong together; none: forget the group", nil, func(r run) error {
		if err := r.api.SetApplication(r.ctx, r.args[0], named(hosts)); err != nil {
			return err
		}
		return a.note("application", r.args[0], "set")
	})
	c.Flags().StringSliceVar(&hosts, "host", nil, "`host` of the group")
	_ = c.RegisterFlagCompletionFunc("host", a.probeNames())
	return c
}

var waveColumns = []column[client.Wave]{
	{title: "hosts", value: func(w client.Wave) string { return strings.Join(w.Hosts, " ") }},
	{title: "applications", value: func(w client.Wave) string { return strings.Join(w.Applications, " ") }},
	{title: "on disks", value: func(w client.Wave) string { return dash(knownBytes(w.Size)) }},
	{title: "copied in", value: func(w client.Wave) string { return dash(knownSeconds(w.Seconds)) }},
	{title: "may hurt", value: func(w client.Wave) string { return strconv.Itoa(w.Reach) }},
	{title: "crossing", value: func(w client.Wave) string { return strconv.Itoa(len(w.Crossing)) }},
	{title: "before their servers", value: func(w client.Wave) string { return crossingText(w.Early) }},
}

func crossingText(all []client.HostRelation) string {
	var out []string
	for _, e := range all {
		out = append(out, fmt.Sprintf("%s->%s", e.Client, e.Server))
	}
	return strings.Join(out, " ")
}

// What is not known is not printed as 0.
func knownBytes(n int64) string {
	if n == 0 {
		return ""
	}
	return bytesText(n)
}

func knownSeconds(n int64) string {
	if n == 0 {
		return ""
	}
	return (time.Duration(n) * time.Second).String()
}

func relationWaves(a *app) *cobra.Command {
	var l client.WaveLimits
	c := a.verb("waves", "Plan in which order to move all hosts", nil, func(r run) error {
		all, err := r.api.Waves(r.ctx, l)
		if err != nil {
			return err
		}
		return printList(a, all, waveColumns)
	})
	c.Example = "  droveway relation waves --hosts 10 --window 4h"
	c.Long = "Plan in which order to move all hosts: hosts of an application stay together where\nthey fit, and no server moves later than its clients where that can be. What the\nprobes say that disks hold, and how fast past moves copied, tell how long a wave\ntakes."
	f := c.Flags()
	f.IntVar(&l.Hosts, "hosts", 0, "at most so many hosts in a wave (default: no limit)")
	f.Var(byteValue{&l.Bytes}, "bytes", "at most so much on the disks of a wave, as 500G (default: no limit)")
	f.DurationVar(&l.Window, "window", 0, "`time` in which the disks of a wave have to be copied, as 4h (default: no limit)")
	f.Var(rateValue{&l.Rate}, "rate", "how much is copied a second, as 100M (default: as past moves did)")
	return c
}

var impactColumns = []column[client.Impact]{
	{title: "host", value: func(i client.Impact) string { return i.Host }},
	{title: "steps", value: func(i client.Impact) string { return strconv.Itoa(i.Steps) }},
	{title: "via", value: func(i client.Impact) string { return i.Via }},
}

func relationBlast(a *app) *cobra.Command {
	return a.verb("blast HOST", "List who depends on a host, directly or through others", a.probeNames(), func(r run) error {
		all, err := r.api.Blast(r.ctx, r.args[0])
		if err != nil {
			return err
		}
		return printList(a, all, impactColumns)
	})
}

var plannedColumns = []column[client.PlannedPattern]{
	{title: "host", value: func(p client.PlannedPattern) string { return p.Host }},
	{title: "site", value: func(p client.PlannedPattern) string { return p.Site }},
	{title: "service", value: func(p client.PlannedPattern) string { return serviceText(p.Service) }},
	{title: "destination", value: func(p client.PlannedPattern) string { return p.Destination }},
	{title: "state", value: func(p client.PlannedPattern) string { return p.State }},
	{title: "connections", value: func(p client.PlannedPattern) string { return strconv.Itoa(p.Opens) }},
	{title: "refused", value: func(p client.PlannedPattern) string { return p.Refused }},
}

func relationPlan(a *app) *cobra.Command {
	return a.verb("plan", "Tell what patterns would be emitted; emits none", nil, func(r run) error {
		all, err := r.api.PlanPatterns(r.ctx)
		if err != nil {
			return err
		}
		return printList(a, all, plannedColumns)
	})
}
