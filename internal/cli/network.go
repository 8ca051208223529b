package cli

import (
	"net/netip"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/client"
)

var networkColumns = []column[droveway.Network]{
	{title: "name", value: func(n droveway.Network) string { return n.Name }},
	{title: "subnet", value: func(n droveway.Network) string { return n.Subnet.String() }},
	{title: "vni", value: func(n droveway.Network) string { return strconv.FormatUint(uint64(n.VNI), 10) }},
	{title: "created", value: func(n droveway.Network) string { return stamp(n.Created) }},
}

func networkCommand(a *app) *cobra.Command {
	return group("network", "Networks that span the hosts", networkCreate(a), networkList(a), networkRemove(a))
}

func networkCreate(a *app) *cobra.Command {
	var subnet string
	var vni uint32
	c := a.verb("create NAME", "Create a network", nil, func(r run) error {
		prefix, err := netip.ParsePrefix(subnet)
		if err != nil {
			return droveway.Errorf(droveway.Invalid, "--subnet %q: give an IPv4 subnet such as 10.30.0.0/24", subnet)
		}
		n, err := r.api.CreateNetwork(r.ctx, client.NetworkRequest{Name: r.args[0], Subnet: prefix, VNI: vni})
		if err != nil {
			return err
		}
		return printOne(a, n, networkColumns)
	})
	c.Example = "  droveway network create inside --subnet 10.30.0.0/24"
	c.Flags().StringVar(&subnet, "subnet", "", "IPv4 `subnet` that machines get their addresses from, as 10.30.0.0/24")
	c.Flags().Uint32Var(&vni, "vni", 0, "VXLAN network identifier (default: the server gives one)")
	return c
}

func networkList(a *app) *cobra.Command {
	return a.verb("ls", "List the networks", nil, func(r run) error {
		networks, err := r.api.Networks(r.ctx)
		if err != nil {
			return err
		}
		return printList(a, networks, networkColumns)
	})
}

func networkRemove(a *app) *cobra.Command {
	return a.verb("rm NETWORK", "Remove a network that no machine uses", a.networkNames(), func(r run) error {
		if err := r.api.RemoveNetwork(r.ctx, r.args[0]); err != nil {
			return err
		}
		return a.note("network", r.args[0], "removed")
	})
}
