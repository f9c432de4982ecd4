package hostnet_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the expected states anew")

// state is what could be changed by attaching, a line each, in the words of ip(8), nft(8) and sysctl(8),
// of the thread's namespace.
func state(t testing.TB) []string {
	t.Helper()
	names := map[int]string{}
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	links, err := netlink.LinkList()
	must(t, err)
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		say("ip link %s up=%t mtu=%d promisc=%d allmulti=%d", a.Name, a.Flags&net.FlagUp != 0, a.MTU, a.Promisc, a.Allmulti)
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		must(t, err)
		for _, addr := range addrs {
			if !addr.IP.IsLinkLocalUnicast() || addr.IP.To4() != nil {
				say("ip addr %s dev %s scope %d", addr.IPNet, a.Name, addr.Scope)
			}
		}
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := netlink.RuleList(family)
		must(t, err)
		for _, r := range rules {
			if r.Mark == 0 {
				say("ip rule %d: lookup %d", r.Priority, r.Table)
				continue
			}
			say("ip rule %d: not=%t from %v fwmark %#x/%#x lookup %d goto %d family %d", r.Priority, r.Invert, r.Src, r.Mark, *r.Mask, r.Table, r.Goto, family)
		}
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		must(t, err)
		for _, r := range routes {
			if r.Dst != nil && r.Dst.IP.IsLinkLocalUnicast() && r.Dst.IP.To4() == nil || r.Dst != nil && r.Dst.IP.IsMulticast() {
				continue // they come with interfaces, when it pleases the kernel
			}
			say("ip route %v type %d dev %s table %d", r.Dst, r.Type, names[r.LinkIndex], r.Table)
		}
	}
	lines = append(lines, nftState(t, names)...)
	lines = append(lines, sysctls(t)...)
	number(lines)
	slices.Sort(lines)
	return lines
}

var markOfAttachment = regexp.MustCompile(`0x69[0-9a-f]{6}`)

// number shows the marks of attachments as counted from 1 in their order, since which ones they are depends
// on interfaces of earlier tests.
func number(lines []string) {
	const of = "0x69000000"
	seen := map[string]bool{of: true}
	for _, l := range lines {
		for _, mark := range markOfAttachment.FindAllString(l, -1) {
			seen[mark] = true
		}
	}
	all := slices.Sorted(maps.Keys(seen))
	for i, l := range lines {
		lines[i] = markOfAttachment.ReplaceAllStringFunc(l, func(mark string) string {
			return fmt.Sprintf("0x69%06x", slices.Index(all, mark))
		})
	}
}

var anyNamespace = regexp.MustCompile(`net:\[\d+\]`)

var ofInterface = regexp.MustCompile(`-\d+$`)

func nftState(t testing.TB, names map[int]string) (lines []string) {
	t.Helper()
	conn, err := nftables.New()
	must(t, err)
	for _, family := range []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyARP, nftables.TableFamilyBridge, nftables.TableFamilyNetdev} {
		name := map[nftables.TableFamily]string{nftables.TableFamilyINet: "inet", nftables.TableFamilyARP: "arp", nftables.TableFamilyBridge: "bridge", nftables.TableFamilyNetdev: "netdev"}[family]
		chains, err := conn.ListChainsOfTableFamily(family)
		must(t, err)
		seen := map[string]bool{}
		for _, c := range chains {
			c.Table.Family = family
			rules, err := conn.GetRules(c.Table, c)
			must(t, err)
			for i, r := range rules {
				comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
				comment = anyNamespace.ReplaceAllString(comment, "net:[N]")
				lines = append(lines, fmt.Sprintf("nft %s %s chain %s rule %d: %s", name, c.Table.Name, ofInterface.ReplaceAllString(c.Name, "-N"), i+1, comment))
			}
			if seen[c.Table.Name] {
				continue
			}
			seen[c.Table.Name] = true
			sets, err := conn.GetSets(c.Table)
			must(t, err)
			for _, s := range sets {
				if slices.Contains([]string{"called", "arrived", "reached", "asking"}, s.Name) {
					continue // of calls, that come and go
				}
				s.Table.Family = family
				elements, err := conn.GetSetElements(s)
				must(t, err)
				for _, e := range elements {
					lines = append(lines, fmt.Sprintf("nft %s %s %s { %s }", name, c.Table.Name, s.Name, elementText(s.Name, e, names)))
				}
			}
		}
	}
	return lines
}

// elementText shows the elements of our sets: the names of interfaces for their indexes, marks as
// numbers, and no more of what differs from run to run than that it is there.
func elementText(set string, e nftables.SetElement, names map[int]string) string {
	dev := func(b []byte) string { return names[int(binary.NativeEndian.Uint32(b))] }
	mark := func(b []byte) string { return fmt.Sprintf("%#x", binary.NativeEndian.Uint32(b)) }
	switch strings.TrimRight(set, "46") {
	case "interfaces":
		return dev(e.Key)
	case "bridges":
		return dev(e.Key) + " : " + dev(e.Val)
	case "macs", "own":
		return dev(e.Key) + " . MAC"
	case "ports":
		return mark(e.Key) + " : " + dev(e.Val)
	case "attached":
		return dev(e.Key) + " : " + mark(e.Val)
	case "sources":
		first, _ := netip.AddrFromSlice(e.Key[4:])
		last, _ := netip.AddrFromSlice(e.KeyEnd[4:])
		return fmt.Sprintf("%s . %s-%s : %s", dev(e.Key), first, last, mark(e.Val))
	case "listeners":
		return mark(e.Key) + " : PORT"
	case "stations":
		return dev(e.Key) + " : MAC"
	case "names", "uplinks":
		return strings.TrimRight(string(e.Key), "\x00")
	case "pinned":
		return mark(e.Key)
	case "exits":
		return mark(e.Key) + " . " + dev(e.Key[4:])
	}
	return fmt.Sprintf("%x : %x", e.Key, e.Val)
}

func sysctls(t testing.TB) (lines []string) {
	t.Helper()
	for _, dir := range []string{"/proc/sys/net/ipv4", "/proc/sys/net/ipv6", "/proc/sys/net/bridge", "/proc/sys/net/netfilter"} {
		err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return nil //nolint:nilerr // not all families are in all kernels
			}
			if b, err := os.ReadFile(path); err == nil && e.Name() != "nf_conntrack_count" {
				lines = append(lines, "sysctl "+path+" = "+strings.TrimSpace(string(b)))
			}
			return nil
		})
		must(t, err)
	}
	return lines
}

// changed lists what came and what went.
func changed(before, after []string) string {
	var b strings.Builder
	for _, line := range after {
		if !slices.Contains(before, line) {
			b.WriteString("+ " + line + "\n")
		}
	}
	for _, line := range before {
		if !slices.Contains(after, line) {
			b.WriteString("- " + line + "\n")
		}
	}
	return b.String()
}

// golden holds a text against testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(path, []byte(got), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if string(want) != got {
		t.Errorf("%s: the state of the host differs:\n%s", name,
			changed(strings.SplitAfter(string(want), "\n"), strings.SplitAfter(got, "\n")))
	}
}
