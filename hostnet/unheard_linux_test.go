package hostnet_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/openimds/openimds/hostnet"
)

// foreignChain makes a chain of another program's table, with no rules.
func foreignChain(t *testing.T, family nftables.TableFamily, hook *nftables.ChainHook, policy nftables.ChainPolicy) *nftables.Chain {
	t.Helper()
	conn, err := nftables.New()
	must(t, err)
	table := conn.AddTable(&nftables.Table{Name: "other", Family: family})
	c := conn.AddChain(&nftables.Chain{
		Name: "firewall", Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityFilter, Policy: &policy,
	})
	must(t, conn.Flush())
	t.Cleanup(func() {
		conn.DelTable(table)
		_ = conn.Flush() // the test may have removed it
	})
	return c
}

// verdict adds a rule to the front of another program's chain: what has a mark of a Host, or none, has a verdict.
func verdict(t *testing.T, c *nftables.Chain, op expr.CmpOp, kind expr.VerdictKind) {
	t.Helper()
	conn, err := nftables.New()
	must(t, err)
	conn.InsertRule(&nftables.Rule{Table: c.Table, Chain: c, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(0xff000000), Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: 1, Data: binaryutil.NativeEndian.PutUint32(hostnet.DefaultMark)},
		&expr.Verdict{Kind: kind},
	}})
	must(t, conn.Flush())
}

// says waits until the reason of an endpoint has all of these texts, or is empty with none.
func says(t *testing.T, h *hostnet.Network, id string, texts ...string) {
	t.Helper()
	right := func(reason string) bool {
		for _, text := range texts {
			if !strings.Contains(reason, text) {
				return false
			}
		}
		return len(texts) > 0 || reason == ""
	}
	reason := becomes(t, h, id, hostnet.Attached).Reason
	for end := time.Now().Add(forever); !right(reason) && time.Now().Before(end); time.Sleep(time.Millisecond) {
		reason = becomes(t, h, id, hostnet.Attached).Reason
	}
	if !right(reason) {
		t.Errorf("%s: %q, want %q in it", id, reason, texts)
	}
}

// TestDroppedByOthers has another program's table drop what guests send. The status says which, and the
// command that lets them pass does.
func TestDroppedByOthers(t *testing.T) {
	for name, hook := range map[string]*nftables.ChainHook{"input": nftables.ChainHookInput, "prerouting": nftables.ChainHookPrerouting} {
		for _, rules := range []string{"none", "some"} {
			t.Run(name+", rules: "+rules, func(t *testing.T) {
				h, _ := newHost(t)
				run(t, h)
				g := machine(t, "g1", "i1", "10.0.0.5/24")
				bridge(t, "br0", "")
				b := machine(t, "b1", "p1", "10.0.0.6/24")
				plug(t, "p1", "br0")
				c := foreignChain(t, nftables.TableFamilyINet, hook, nftables.ChainPolicyDrop)
				if rules == "some" {
					verdict(t, c, expr.CmpOpNeq, expr.VerdictAccept)
				}
				must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}, {ID: "two", Interface: "p1"}}))
				want := []string{"drop", "inet other firewall", "'nft insert rule inet other firewall meta mark and 0xff000000 == 0x69000000 accept'"}
				if rules == "none" { // which is told before anybody calls
					says(t, h, "one", want...)
					says(t, h, "two", want...)
				}
				for id, guest := range map[string]*namespace{"one": g, "two": b} {
					guest.hearsNothing(metadata4)
					// A call may be lost to more than one thing at first: guests call again, and the last call counts.
					for end := time.Now().Add(forever); !strings.Contains(becomes(t, h, id, hostnet.Attached).Reason, name) && time.Now().Before(end); {
						guest.hearsNothing(metadata4)
					}
					says(t, h, id, append(want, name)...)
				}
				verdict(t, c, expr.CmpOpEq, expr.VerdictAccept)
				for id, guest := range map[string]*namespace{"one": g, "two": b} {
					guest.hears(metadata4, id)
					says(t, h, id)
				}
			})
		}
	}
}

// TestDroppedForIPv6 has other programs drop all of IPv6, which keeps no guest from being heard, and then drop
// all there is behind a chain that only drops some.
func TestDroppedForIPv6(t *testing.T) {
	h, _ := newHost(t)
	run(t, h)
	g := machine(t, "g1", "i1", "10.0.0.5/24")
	foreignChain(t, nftables.TableFamilyIPv6, nftables.ChainHookInput, nftables.ChainPolicyDrop)
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}}))
	says(t, h, "one")
	g.hears(metadata4, "one")
	verdict(t, foreignChain(t, nftables.TableFamilyINet, nftables.ChainHookInput, nftables.ChainPolicyDrop), expr.CmpOpEq, expr.VerdictAccept)
	foreignChain(t, nftables.TableFamilyIPv4, nftables.ChainHookInput, nftables.ChainPolicyDrop)
	says(t, h, "one", "drops all", "see chain ip other firewall of nftables")
}

// TestNoRoomForNotes has no room left in the set of those whose calls arrived. What is noted is for the status
// alone: guests are answered.
func TestNoRoomForNotes(t *testing.T) {
	h, _ := newHost(t)
	run(t, h)
	g := machine(t, "g1", "i1", "10.0.0.5/24")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}}))
	conn, err := nftables.New()
	must(t, err)
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	must(t, err)
	full := false
	for _, table := range tables {
		set, err := conn.GetSetByName(table, "arrived")
		if err != nil {
			continue
		}
		for mark := uint32(1); !full; {
			var some []nftables.SetElement
			for range 1 << 10 {
				some = append(some, nftables.SetElement{Key: binaryutil.NativeEndian.PutUint32(mark), Timeout: time.Hour})
				mark++
			}
			must(t, conn.SetAddElements(set, some))
			full = conn.Flush() != nil // which takes none of these any more
			if mark > 1<<18 {
				t.Fatal("the set takes whatever there is")
			}
		}
	}
	if !full {
		t.Fatal("there is no such set")
	}
	g.hears(metadata4, "one")
}

// TestLostByRouting has a routing rule before those of the Host send guests elsewhere.
func TestLostByRouting(t *testing.T) {
	h, _ := newHost(t)
	run(t, h)
	g := machine(t, "g1", "i1", "10.0.0.5/24")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "i1"}}))
	g.hears(metadata4, "one")
	lost := blackhole(t)
	for end := time.Now().Add(6 * forever); becomes(t, h, "one", hostnet.Attached).Reason == "" && time.Now().Before(end); {
		g.hearsNothing(metadata4) // that it was heard before is known for a while
	}
	says(t, h, "one", "by the host's routing", "'ip rule' for rules before 169")
	lost()
	g.hears(metadata4, "one")
	says(t, h, "one")
}

// TestIgnoredARP has a host that answers ARP for the addresses of the interface only, as load balancers have it.
func TestIgnoredARP(t *testing.T) {
	for name, sysctl := range map[string]string{"i1": "i1", "i1.100": "i1/100"} { // the name of a VLAN has a dot
		t.Run(name, func(t *testing.T) {
			h, _ := newHost(t)
			run(t, h)
			g := machine(t, "g1", name, "10.0.0.5/24")
			must(t, os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/arp_ignore", []byte("1"), 0o644))
			must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: name}}))
			says(t, h, "one")
			g.hearsNothing(metadata4)
			says(t, h, "one", "arp_ignore 1", "'sysctl -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf."+sysctl+".arp_ignore=0'")
			must(t, os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/arp_ignore", []byte("0"), 0o644))
			g.hears(metadata4, "one")
			says(t, h, "one")
		})
	}
}
