package metadata

import (
	"net/netip"
	"strconv"

	"github.com/openimds/openimds"
)

const macPath = "meta-data/network/interfaces/macs/{mac}/"

// networkRows are the primary interface's names and addresses, and all interfaces below macs/.
var networkRows = []row{
	{
		Path: "meta-data/hostname", Since: "1.0",
		Doc:   "Private host name of the primary interface.",
		Value: primary(localHostname),
	},
	{
		Path: "meta-data/ipv6", Since: "2021-01-03",
		Doc: "First IPv6 address of the primary interface.", When: "the primary interface has IPv6",
		Value: primary(func(b []byte, n *openimds.NIC) []byte { return appendFirst(b, n.IPv6) }),
	},
	{
		Path: "meta-data/local-hostname", Since: "2007-01-19",
		Doc:   "Private host name of the primary interface.",
		Value: primary(localHostname),
	},
	{
		Path: "meta-data/local-ipv4", Since: "1.0",
		Doc: "Private IPv4 address of the primary interface.", When: "the primary interface has IPv4",
		Value: primary(func(b []byte, n *openimds.NIC) []byte { return appendFirst(b, n.PrivateIPv4) }),
	},
	{
		Path: "meta-data/mac", Since: "2011-01-01",
		Doc:   "MAC address of the primary interface.",
		Value: primary(mac),
	},
	{
		Path: "meta-data/public-hostname", Since: "2007-01-19",
		Doc: "Public host name of the primary interface.", When: "the primary interface has a public IPv4 address",
		Value: primary(publicHostname),
	},
	{
		Path: "meta-data/public-ipv4", Since: "2007-01-19",
		Doc: "Public IPv4 address of the primary interface.", When: "the primary interface has a public IPv4 address",
		Value: primary(func(b []byte, n *openimds.NIC) []byte {
			if len(n.Associations) == 0 || !n.Associations[0].Public.IsValid() {
				return b
			}
			return n.Associations[0].Public.AppendTo(b)
		}),
	},
	{
		Path: "meta-data/security-groups", Since: "1.0",
		Doc:   "Names of the primary interface's security groups, one a line.",
		Value: primary(securityGroups),
	},
	{
		Path: macPath + "device-number", Since: "2011-01-01",
		Doc:   "Number of the interface; the primary one is 0.",
		Value: nic(func(b []byte, n *openimds.NIC) []byte { return strconv.AppendInt(b, int64(n.DeviceNumber), 10) }),
	},
	{
		Path: macPath + "interface-id", Since: "2011-01-01",
		Doc:   "Id of the interface.",
		Value: nic(func(b []byte, n *openimds.NIC) []byte { return append(b, n.ID...) }),
	},
	{
		Path: macPath + "ipv4-associations/{public-ip}", Since: "2011-01-01",
		Doc: "Private IPv4 addresses that the public one stands for, one a line.", When: "for each public IPv4 address",
		Value: func(it Item, v *View, a args) Item {
			it.Body = appendAddrs(it.Body, v.Instance.NICs[a[0]].Associations[a[1]].Private)
			return it
		},
	},
	{
		// Prefix delegation was announced a week after the version that is named here.
		Path: macPath + "ipv4-prefix", Since: "2021-07-15", Undated: true,
		Doc: "IPv4 prefixes delegated to the interface, one a line.", When: "the interface has IPv4 prefixes",
		Value: nic(func(b []byte, n *openimds.NIC) []byte { return appendPrefixes(b, n.IPv4Prefixes) }),
	},
	{
		Path: macPath + "ipv6-prefix", Since: "2021-07-15", Undated: true,
		Doc: "IPv6 prefixes delegated to the interface, one a line.", When: "the interface has IPv6 prefixes",
		Value: nic(func(b []byte, n *openimds.NIC) []byte { return appendPrefixes(b, n.IPv6Prefixes) }),
	},
	{
		Path: macPath + "ipv6s", Since: "2016-06-30",
		Doc: "IPv6 addresses of the interface, one a line.", When: "the interface has IPv6 addresses",
		Value: nic(func(b []byte, n *openimds.NIC) []byte { return appendAddrs(b, n.IPv6) }),
	},
	{
		Path: macPath + "local-hostname", Since: "2011-01-01",
		Doc:   "Private host name of the interface.",
		Value: nic(localHostname),
	},
	{
		Path: macPath + "local-ipv4s", Since: "2011-01-01",
		Doc: "Private IPv4 addresses of the interface, the primary one first, one a line.", When: "the interface has IPv4 addresses",
		Value: nic(func(b []byte, n *openimds.NIC) []byte { return appendAddrs(b, n.PrivateIPv4) }),
	},
	{
		Path: macPath + "mac", Since: "2011-01-01",
		Doc:   "MAC address of the interface.",
		Value: nic(mac),
	},
	{
		Path: macPath + "network-card", Since: "2020-11-01",
		Doc: "Index of the network card that holds the interface.", When: "the instance type has several network cards",
		Value: nic(func(b []byte, n *openimds.NIC) []byte {
			if n.NetworkCard == nil {
				return b
			}
			return strconv.AppendInt(b, int64(*n.NetworkCard), 10)
		}),
	},
	{
		Path: macPath + "owner-id", Since: "2011-01-01",
		Doc:   "Account that owns the interface.",
		Value: text(func(in *openimds.Instance) string { return in.OwnerID }),
	},
	{
		Path: macPath + "public-hostname", Since: "2011-01-01",
		Doc: "Public host name of the interface.", When: "the interface has a public IPv4 address",
		Value: nic(publicHostname),
	},
	{
		Path: macPath + "public-ipv4s", Since: "2011-01-01",
		Doc: "Public IPv4 addresses of the interface, one a line.", When: "the interface has a public IPv4 address",
		Value: nic(func(b []byte, n *openimds.NIC) []byte {
			for _, a := range n.Associations {
				if a.Public.IsValid() {
					b = a.Public.AppendTo(nextLine(b))
				}
			}
			return b
		}),
	},
	{
		Path: macPath + "security-group-ids", Since: "2011-01-01",
		Doc:   "Ids of the interface's security groups, one a line.",
		Value: nic(func(b []byte, n *openimds.NIC) []byte { return appendLines(b, n.SecurityGroupIDs) }),
	},
	{
		Path: macPath + "security-groups", Since: "2011-01-01",
		Doc:   "Names of the interface's security groups, one a line.",
		Value: nic(securityGroups),
	},
	{
		Path: macPath + "subnet-id", Since: "2011-01-01",
		Doc:   "Id of the interface's subnet.",
		Value: nic(func(b []byte, n *openimds.NIC) []byte { return append(b, n.SubnetID...) }),
	},
	{
		Path: macPath + "subnet-ipv4-cidr-block", Since: "2011-01-01",
		Doc: "IPv4 block of the subnet.", When: "the subnet has IPv4",
		Value: nic(func(b []byte, n *openimds.NIC) []byte { return appendCIDR(b, n.SubnetIPv4CIDR) }),
	},
	{
		Path: macPath + "subnet-ipv6-cidr-blocks", Since: "2016-06-30",
		Doc: "IPv6 blocks of the subnet, one a line, all groups written.", When: "the subnet has IPv6",
		Value: nic(func(b []byte, n *openimds.NIC) []byte { return appendCIDRs(b, n.SubnetIPv6CIDRs) }),
	},
	{
		Path: macPath + "vpc-id", Since: "2011-01-01",
		Doc:   "Id of the interface's VPC.",
		Value: nic(func(b []byte, n *openimds.NIC) []byte { return append(b, n.VPCID...) }),
	},
	{
		Path: macPath + "vpc-ipv4-cidr-block", Since: "2011-01-01",
		Doc: "Primary IPv4 block of the VPC.", When: "the VPC has IPv4",
		Value: nic(func(b []byte, n *openimds.NIC) []byte {
			if len(n.VPCIPv4CIDRs) == 0 {
				return b
			}
			return appendCIDR(b, n.VPCIPv4CIDRs[0])
		}),
	},
	{
		Path: macPath + "vpc-ipv4-cidr-blocks", Since: "2016-06-30",
		Doc: "IPv4 blocks of the VPC, one a line.", When: "the VPC has IPv4",
		Value: nic(func(b []byte, n *openimds.NIC) []byte { return appendCIDRs(b, n.VPCIPv4CIDRs) }),
	},
	{
		Path: macPath + "vpc-ipv6-cidr-blocks", Since: "2016-06-30",
		Doc: "IPv6 blocks of the VPC, one a line, all groups written.", When: "the VPC has IPv6",
		Value: nic(func(b []byte, n *openimds.NIC) []byte { return appendCIDRs(b, n.VPCIPv6CIDRs) }),
	},
}

func localHostname(b []byte, n *openimds.NIC) []byte  { return append(b, n.LocalHostname...) }
func publicHostname(b []byte, n *openimds.NIC) []byte { return append(b, n.PublicHostname...) }
func securityGroups(b []byte, n *openimds.NIC) []byte { return appendLines(b, n.SecurityGroups) }

// mac is lower case, as the name of the interface's directory is.
func mac(b []byte, n *openimds.NIC) []byte { return append(b, macName(n)...) }

// appendFirst writes the first of the addresses, if there is one.
func appendFirst(b []byte, addrs []netip.Addr) []byte {
	return appendAddrs(b, addrs[:min(1, len(addrs))])
}
