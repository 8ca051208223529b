package cli

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway/client"
)

var relationColumns = []column[client.Relation]{
	{title: "client", value: func(r client.Relation) string { return partyText(r.Client) }},
	{title: "server", value: func(r client.Relation) string { return partyText(r.Server) }},
	{title: "port", value: func(r client.Relation) string { return r.Protocol + "/" + strconv.Itoa(int(r.Port)) }},
	{title: "seen as", value: seenAs},
	{title: "evidence", value: func(r client.Relation) string { return r.Evidence[0].Kind }},
	{title: "confidence", value: func(r client.Relation) string { return strconv.FormatFloat(r.Confidence, 'f', 3, 64) }},
	{title: "count", value: func(r client.Relation) string { return strconv.Itoa(r.Count) }},
	{title: "state", value: func(r client.Relation) string { return r.State }},
	{title: "last", value: func(r client.Relation) string { return stamp(r.Last) }},
}

// partyText is an end of a relation: host and service, or an address.
func partyText(p client.Party) string {
	if p.Host == "" {
		return p.External.String()
	}
	if s := serviceText(p.Service); s != "" {
		return p.Host + " " + s
	}
	return p.Host
}

func serviceText(s client.Service) string {
	if s.Unit != "" {
		return s.Unit
	}
	base := s.Executable[strings.LastIndex(s.Executable, "/")+1:]
	if s.Container != "" {
		return base + "@" + s.Container[:min(12, len(s.Container))]
	}
	return base
}

// seenAs is the translated address of the last path: what the server believes to
// talk to.
func seenAs(r client.Relation) string {
	var seen string
	for _, p := range r.Paths {
		if p.Seen.IsValid() && p.Seen != p.Source {
			seen = p.Seen.String()
		}
	}
	return seen
}

func relationCommand(a *app) *cobra.Command {
	return group("relation", "Who talks to whom, across address translation",
		relationList(a), relationShow(a), relationExplain(a), relationApps(a), relationGroup(a),
		relationWaves(a), relationBlast(a), relationPolicy(a), relationPlan(a))
}

// drawings are the formats that the server writes.
var drawings = []string{"csv", "dot", "mermaid"}

func (a *app) drawn() bool {
	for _, f := range drawings {
		if a.output == f {
			return true
		}
	}
	return false
}

func relationList(a *app) *cobra.Command {
	var f client.RelationFilter
	c := a.verb("ls", "List who talks to whom", nil, func(r run) error {
		if a.drawn() {
			return r.api.ExportRelations(r.ctx, a.output, f, a.env.Out)
		}
		all, err := r.api.Relations(r.ctx, f)
		if err != nil {
			return err
		}
		return printList(a, all, relationColumns)
	})
	c.Long = "List who talks to whom. Besides the usual formats -o takes csv, dot (Graphviz) and\nmermaid (a flowchart)."
	c.PersistentPreRunE = func(*cobra.Command, []string) error {
		if a.drawn() {
			return nil
		}
		return validOutput(a.output)
	}
	c.Example = `  droveway relation ls --internal
  droveway relation ls --host db-1 --evidence pattern
  droveway relation ls -o csv`
	c.Flags().StringVar(&f.Host, "host", "", "only those of a `host`")
	c.Flags().StringVar(&f.Service, "service", "", "only those of a `service`, by its short name")
	c.Flags().StringVar(&f.State, "state", "", "only those that are active, stale, or removed of late")
	c.Flags().StringVar(&f.Evidence, "evidence", "", "only those with evidence at least as good as isn, pattern, conntrack, timing or one-sided")
	c.Flags().BoolVar(&f.Internal, "internal", false, "only those with a probe at both ends")
	_ = c.RegisterFlagCompletionFunc("host", a.probeNames())
	return c
}

func relationShow(a *app) *cobra.Command {
	var steps int
	c := a.verb("show HOST", "List what a host talks to, and who talks to it", a.probeNames(), func(r run) error {
		all, err := r.api.Neighbourhood(r.ctx, r.args[0], steps)
		if err != nil {
			return err
		}
		return printList(a, all, relationColumns)
	})
	c.Flags().IntVar(&steps, "steps", 1, "how far from the host")
	return c
}

var explanationColumns = []column[client.Explanation]{
	{title: "related", value: func(x client.Explanation) string { return yes(!x.Absent) }},
	{title: "exact", value: func(x client.Explanation) string {
		if !x.Absent {
			return ""
		}
		return yes(x.Exact)
	}, wide: true},
	{title: "why", value: func(x client.Explanation) string { return x.Why }},
	{title: "watched from", value: func(x client.Explanation) string { return stamp(x.Since) }},
	{title: "to", value: func(x client.Explanation) string { return stamp(x.Until) }},
	{title: "evidence", value: evidenceText, wide: true},
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func evidenceText(x client.Explanation) string {
	var out []string
	for _, r := range x.Edges {
		for _, e := range r.Evidence {
			out = append(out, fmt.Sprintf("%s -> %s %s/%d: %s, %d times, score %.3f, last %s",
				partyText(r.Client), partyText(r.Server), r.Protocol, r.Port, e.Kind, e.Count, e.Score, stamp(e.Last)))
		}
		for _, p := range r.Paths {
			out = append(out, "  "+pathText(p))
		}
	}
	return strings.Join(out, "\n\t")
}

// pathText is the way of a connection: who the client says that it is and what
// it dials, what arrives.
func pathText(p client.RelationPath) string {
	known := func(valid bool, s fmt.Stringer) string {
		if !valid {
			return "?"
		}
		return s.String()
	}
	via := ""
	if len(p.Hops) > 0 {
		via = ", translated by " + strings.Join(p.Hops, ", ")
	}
	return fmt.Sprintf("%s dials %s, arrives as %s at %s%s",
		known(p.Source.IsValid(), p.Source), known(p.Dialled.IsValid(), p.Dialled), known(p.Seen.IsValid(), p.Seen), known(p.Served.IsValid(), p.Served), via)
}

func relationExplain(a *app) *cobra.Command {
	return a.verb("explain HOST HOST", "Tell what is known between two hosts, and how sure it is", a.probeNames(), func(r run) error {
		x, err := r.api.ExplainRelation(r.ctx, r.args[0], r.args[1])
		if err != nil {
			return err
		}
		return printOne(a, x, explanationColumns)
	})
}

var policyColumns = []column[client.RelationPolicy]{
	{title: "sites that opted in", value: func(p client.RelationPolicy) string { return strings.Join(p.Sites, " ") }},
	{title: "opted out", value: func(p client.RelationPolicy) string {
		var out []string
		for _, o := range p.OptOut {
			out = append(out, optOutText(o))
		}
		return strings.Join(out, " ")
	}},
	{title: "denied ports", value: func(p client.RelationPolicy) string {
		var out []string
		for _, port := range p.DenyPorts {
			out = append(out, strconv.Itoa(int(port)))
		}
		return strings.Join(out, " ")
	}},
}

func optOutText(o client.OptOut) string {
	if o.Port == 0 {
		return o.Addresses.String()
	}
	return fmt.Sprintf("%s:%d", o.Addresses, o.Port)
}

func relationPolicy(a *app) *cobra.Command {
	return group("policy", "Where patterns may be emitted", relationPolicyShow(a), relationPolicySet(a))
}

func relationPolicyShow(a *app) *cobra.Command {
	return a.verb("show", "Show where patterns may be emitted", nil, func(r run) error {
		p, err := r.api.RelationPolicy(r.ctx)
		if err != nil {
			return err
		}
		return printOne(a, p, policyColumns)
	})
}

func relationPolicySet(a *app) *cobra.Command {
	var sites, out []string
	var ports []uint
	c := a.verb("set", "Say where patterns may be emitted", nil, func(r run) error {
		p, err := r.api.RelationPolicy(r.ctx)
		if err != nil {
			return err
		}
		if r.cmd.Flags().Changed("site") {
			p.Sites = named(sites)
		}
		if r.cmd.Flags().Changed("opt-out") {
			if p.OptOut, err = parseOptOuts(out); err != nil {
				return err
			}
		}
		if r.cmd.Flags().Changed("deny-port") {
			if p.DenyPorts, err = parsePorts(ports); err != nil {
				return err
			}
		}
		p, err = r.api.SetRelationPolicy(r.ctx, p)
		if err != nil {
			return err
		}
		return printOne(a, p, policyColumns)
	})
	c.Example = "  droveway relation policy set --site berlin --opt-out 192.0.2.0/24"
	c.Long = "Say where patterns may be emitted. A flag replaces what it names, and with an empty\nvalue clears it; what no flag names stays. Only probes that run with --active emit."
	c.Flags().StringSliceVar(&sites, "site", nil, "`site` that opts in")
	c.Flags().StringSliceVar(&out, "opt-out", nil, "`target` that no pattern may reach: 192.0.2.0/24, 192.0.2.1 or 192.0.2.1:443")
	c.Flags().UintSliceVar(&ports, "deny-port", nil, "`port` that is denied besides those that always are")
	return c
}

// named drops empty values, which clear a list.
func named(all []string) []string {
	out := []string{}
	for _, s := range all {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

func parseOptOuts(all []string) ([]client.OptOut, error) {
	out := []client.OptOut{}
	for _, s := range named(all) {
		o, err := ParseOptOut(s)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// ParseOptOut reads addresses that opt out, at all or at one port: 192.0.2.0/24,
// 192.0.2.1, 192.0.2.1:443, [2001:db8::1]:443.
func ParseOptOut(s string) (client.OptOut, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return client.OptOut{Addresses: p.Masked()}, nil
	}
	if addr, err := netip.ParseAddr(s); err == nil {
		addr = addr.Unmap() // as destinations are
		return client.OptOut{Addresses: netip.PrefixFrom(addr, addr.BitLen())}, nil
	}
	at := strings.LastIndex(s, ":")
	if at < 0 {
		return client.OptOut{}, badOptOut(s)
	}
	o, err := ParseOptOut(strings.Trim(s[:at], "[]"))
	port, perr := strconv.ParseUint(s[at+1:], 10, 16)
	if err != nil || perr != nil || port == 0 || o.Port != 0 {
		return o, badOptOut(s)
	}
	o.Port = uint16(port)
	return o, nil
}
