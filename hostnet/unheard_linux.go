package hostnet

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A host can drop what its guests send by rules of other programs or by its routing, and the guest sees a
// service that does not answer. So the tables note who calls, whose call comes through the routing, and whose
// gets past the rules of all others at the host's input; who calls and never gets there is told of, with the
// place where the call was lost.

// The sets of it: of marks, and of interfaces.
const (
	asking  = "asking" // by ARP where the address is
	called  = "called" // and had not got past all for a while
	arrived = "arrived"
	reached = "reached"
)

const (
	calledLasts  = 3 * time.Second
	reachedLasts = 5 * time.Second // who keeps calling is noted at its first call only
	calledMost   = 1 << 16
)

func (t *table) callSets(conn *nftables.Conn) (errs []error) {
	for set, lasts := range map[string]time.Duration{called: calledLasts, arrived: reachedLasts, reached: reachedLasts} {
		errs = append(errs, t.learned(conn, set, lasts, calledMost, nil, nftables.TypeMark))
	}
	return errs
}

// noteCall is for the first packets of connections, with the mark of the attachment. It ends its rule, which
// has no verdict: the kernel does not go on with a rule whose note finds no room, and the call must pass all the same.
func noteCall(t *table, set string) rule {
	mark := rule{&expr.Meta{Key: expr.MetaKeyMARK, Register: key1}}
	if set == called {
		mark = append(mark, lookup(t.sets[reached], key1, true))
	}
	return append(mark, update(t.sets[set], key1, 0))
}

// lastOfAll is a priority behind the rules of all others.
const lastOfAll = math.MaxInt32

// listen finds out whose calls are lost, and whose questions.
func (h *Network) listen() {
	h.listenToQuestions()
	t := h.firewall.tables[nftables.TableFamilyINet]
	if !t.built {
		return
	}
	of := map[string]map[uint32]bool{}
	for _, set := range []string{called, arrived, reached} { // in this order: a call that is under way is in the first only
		elements, err := elementsOf(t.Table, set)
		if err != nil || set == called && len(elements)+len(h.lostCalls) == 0 {
			return
		}
		of[set] = map[uint32]bool{}
		for _, e := range elements {
			if len(e.key) == 4 {
				of[set][binary.NativeEndian.Uint32([]byte(e.key))] = true
			}
		}
	}
	for mark := range of[called] {
		if h.marks[mark] && !of[reached][mark] {
			h.lostCalls[mark] = h.lostAt(of[arrived][mark])
		}
	}
	for mark := range h.lostCalls {
		switch {
		case of[reached][mark] || !h.marks[mark]:
			delete(h.lostCalls, mark)
		case of[arrived][mark]: // it may have been under way when it was looked for there
			h.lostCalls[mark] = h.lostAt(true)
		}
	}
}

// listenToQuestions finds out who asks by ARP where the host answers to nobody.
func (h *Network) listenToQuestions() {
	var ask map[int]bool
	all := setting("all", "arp_ignore")
	for index, d := range h.devices {
		ignore := max(all, d.ignore)
		if !slices.Contains(ignoring, ignore) {
			d.asks = 0
			continue
		}
		if t := h.firewall.tables[nftables.TableFamilyARP]; ask == nil && t.built {
			ask = map[int]bool{}
			elements, _ := elementsOf(t.Table, asking) // those that cannot be read are no sign of anything
			for _, e := range elements {
				if len(e.key) == 4 {
					ask[int(binary.NativeEndian.Uint32([]byte(e.key)))] = true
				}
			}
		}
		if d.asks > 0 || ask[index] {
			d.asks = ignore
		}
	}
}

// ignoring are the values of net.ipv4.conf.*.arp_ignore with which the host does not say where an address is
// that no interface of it has.
var ignoring = []int{1, 2, 3, 8}

// lostAt says where a call was lost, and what helps.
func (h *Network) lostAt(routed bool) string {
	const text = "connections of its guests are dropped "
	if routed {
		return text + "at the host's input: " + h.byOthers(othersAt(nftables.ChainHookInput))
	}
	routing := fmt.Sprintf("see 'ip rule' for rules before %d, and whether the guest has an address of this host", h.cfg.Priority)
	others := othersAt(nftables.ChainHookPrerouting)
	if len(others) == 0 {
		return text + "by the host's routing: " + routing
	}
	return text + "at the host's prerouting, or by its routing: " + h.byOthers(others) + "; " + routing
}

// byOthers names the chains that may have dropped a packet, and the command that lets those of guests pass.
func (h *Network) byOthers(all []*nftables.Chain) string {
	if len(all) == 0 { // nftables does not show the rules of the older iptables
		return fmt.Sprintf("run 'iptables -I INPUT -m mark --mark %#x/%#x -j ACCEPT'", h.cfg.Mark, ^uint32(indexMask))
	}
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = fmt.Sprintf("%s %s %s", familyName(c.Table.Family), c.Table.Name, c.Name)
	}
	which := "chain " + names[0]
	if len(names) > 1 {
		which = "one of the chains " + strings.Join(names, ", ")
	}
	return fmt.Sprintf("see %s of nftables; run 'nft insert rule %s meta mark and %#x == %#x accept'", which, names[0], ^uint32(indexMask), h.cfg.Mark)
}

// othersAt are the chains of other tables at a hook, those first that drop what none of their rules accepts.
func othersAt(hook *nftables.ChainHook) []*nftables.Chain {
	conn, err := dial()
	if err != nil {
		return nil
	}
	all, err := conn.ListChains()
	if err != nil {
		return nil
	}
	families := []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyIPv4, nftables.TableFamilyIPv6}
	all = slices.DeleteFunc(all, func(c *nftables.Chain) bool {
		return c.Hooknum == nil || *c.Hooknum != *hook || c.Type == nftables.ChainTypeNAT ||
			strings.HasPrefix(c.Table.Name, tableName) || !slices.Contains(families, c.Table.Family)
	})
	slices.SortStableFunc(all, func(a, b *nftables.Chain) int {
		rank := func(c *nftables.Chain) int {
			if drops(c) {
				return 0
			}
			return 1
		}
		return rank(a) - rank(b)
	})
	return all
}

func drops(c *nftables.Chain) bool { return c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop }

// lookForDrops finds out whether other tables drop all there is, which need not wait for a guest to call. Where
// only IPv6 is dropped, guests are heard.
func (h *Network) lookForDrops() {
	gen, err := generation()
	if err != nil || gen == h.dropsAt || time.Now().Before(h.dropsAgain) {
		return
	}
	start, before := time.Now(), h.dropAll
	h.dropsAt, h.dropAll = gen, ""
	for _, hook := range []*nftables.ChainHook{nftables.ChainHookInput, nftables.ChainHookPrerouting} {
		all := slices.DeleteFunc(othersAt(hook), func(c *nftables.Chain) bool {
			return c.Table.Family == nftables.TableFamilyIPv6 || !drops(c) || !isEmpty(c)
		})
		if len(all) > 0 {
			h.dropAll = "another program's table drops all that this host is sent: " + h.byOthers(all)
		}
	}
	if h.dropAll != "" && h.dropAll != before {
		h.cfg.Log.Warn("no guest is heard", "reason", h.dropAll)
	}
	// A host may have thousands of chains and change them all the time.
	h.dropsAgain = time.Now().Add(50 * time.Since(start))
}

// isEmpty says whether a chain has no rules.
func isEmpty(c *nftables.Chain) bool {
	empty := true
	err := query(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, c.Table.Family, func([]byte) bool {
		empty = false
		return false
	}, named(unix.NFTA_RULE_TABLE, c.Table.Name), named(unix.NFTA_RULE_CHAIN, c.Name))
	return err == nil && empty
}

// deaf says why guests of a seat's attachment cannot be heard, and what helps; "": nothing is known. The log is
// told of it once.
func (h *Network) deaf(s *seat) string {
	reason := h.unheard(s.at)
	switch {
	case reason == s.at.deaf:
	case reason != "":
		h.cfg.Log.Warn("guests of an attachment are not heard", "endpoint", s.ID, "place", s.place(), "reason", reason)
	default:
		h.cfg.Log.Info("guests of an attachment can be heard again", "endpoint", s.ID, "place", s.place())
	}
	s.at.deaf = reason
	return reason
}

func (h *Network) unheard(a *attachment) string {
	for _, index := range []int{a.where.ifindex, a.where.device()} {
		if l := h.links.byIndex[index]; !l.up {
			return fmt.Sprintf("interface %s is down: run 'ip link set %s up'", l.name, l.name)
		}
	}
	index := a.where.device()
	switch d := h.devices[index]; {
	case d == nil:
	case d.fault != "":
		return d.fault
	case d.asks > 0:
		name := h.links.byIndex[index].name
		return fmt.Sprintf("the host does not answer guests who ask by ARP at %s (arp_ignore %d): run 'sysctl -w net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.%s.arp_ignore=0', "+
			"or give them a route to %v by an address of this host", name, d.asks, strings.ReplaceAll(name, ".", "/"), addr4)
	}
	return h.lostCalls[a.mark]
}
