package etcd_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/openimds/openimds/store/etcd/etcdtest"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// apart is set in the process that has the network to itself.
const apart = "OPENIMDS_TEST_NETWORK_APART"

// TestMembersPartitioned has the members of a cluster cut off from each other and from those who write, wholly and in one
// direction only, under eight writers: no acknowledged write is lost, no read is stale, and watches are told of every write
// once. Members, and the process of the writers, have network namespaces of their own, joined by a bridge.
func TestMembersPartitioned(t *testing.T) {
	if os.Getenv(apart) == "" {
		t.Parallel()
		inOwnNetwork(t)
		return
	}
	n := newNetwork(t, 3)
	c := etcdtest.StartAt(t, n.places)
	underTrouble(t, c, true, rounds(t, len(cuts)), func(round int) {
		cut := cuts[round%len(cuts)]
		n.cut(cut.of(rand.IntN(len(c.Members)), 1+rand.IntN(len(c.Members)-1)))
		until(t, cut.what+" misses something", n.loses)
		time.Sleep(rand.N(3 * time.Second)) // most longer than an election
		n.cut(nil)
	})
}

// inOwnNetwork runs this test once more, in a process whose network is its own and goes with it.
func inOwnNetwork(t *testing.T) {
	t.Helper()
	etcdtest.Server(t) // nothing can be brought from there
	limit := 10 * time.Minute
	if deadline, limited := t.Deadline(); limited {
		limit = time.Until(deadline)
	}
	run := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout="+limit.String()) //nolint:gosec // this very program
	run.Env = append(os.Environ(), apart+"=1")
	run.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // with the thread that begins it, it would end
	defer runtime.UnlockOSThread()
	out, err := run.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("skipped: this test makes network namespaces, which needs root (%v)", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "_test.go:") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// everybody is who is on the network beside the members: those who write.
const everybody = -1

// deafness is that packets of one end, a member or everybody, do not arrive at another one.
type deafness struct{ at, to int }

// cuts are the ways in which a network fails, of one member and another one, which is so many further.
var cuts = []struct {
	what string
	of   func(member, further int) []deafness
}{
	{"a member, cut off from the others and from who writes", func(m, _ int) []deafness {
		return append(both(m, everybody), append(both(m, next(m, 1)), both(m, next(m, 2))...)...)
	}},
	{"a member, cut off from the others and not from who writes", func(m, _ int) []deafness {
		return append(both(m, next(m, 1)), both(m, next(m, 2))...)
	}},
	{"a member that hears none of the others, which hear it", func(m, _ int) []deafness {
		return []deafness{{m, next(m, 1)}, {m, next(m, 2)}}
	}},
	{"a member that none of the others hears", func(m, _ int) []deafness {
		return []deafness{{next(m, 1), m}, {next(m, 2), m}}
	}},
	{"two members, cut off from each other", func(m, further int) []deafness { return both(m, next(m, further)) }},
	{"two members of which one does not hear the other", func(m, further int) []deafness {
		return []deafness{{m, next(m, further)}}
	}},
	{"a member whose answers do not arrive", func(m, _ int) []deafness { return []deafness{{everybody, m}} }},
	{"a member that hears no request", func(m, _ int) []deafness { return []deafness{{m, everybody}} }},
	{"all members, each by itself", func(int, int) []deafness {
		return append(both(0, 1), append(both(1, 2), both(2, 0)...)...)
	}},
}

func both(a, b int) []deafness { return []deafness{{a, b}, {b, a}} }

func next(member, further int) int { return (member + further) % 3 }

// network is a bridge in this process's namespace, and on it a namespace for each member.
type network struct {
	t      *testing.T
	own    netns.NsHandle
	spaces []netns.NsHandle
	places []etcdtest.Place
}

func addressOf(end int) string {
	if end == everybody {
		return "10.77.0.254"
	}
	return fmt.Sprintf("10.77.0.%d", end+1)
}

func newNetwork(t *testing.T, members int) *network {
	t.Helper()
	n := &network{t: t, own: must(netns.Get())(t)}
	t.Cleanup(func() { _ = n.own.Close() })
	here := must(netlink.NewHandleAt(n.own))(t)
	t.Cleanup(here.Close)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	n.must(here.LinkAdd(bridge))
	n.up(here, "lo", "")
	n.up(here, "br0", addressOf(everybody))
	for i := range members {
		space := n.space()
		there := must(netlink.NewHandleAt(space))(t)
		t.Cleanup(there.Close)
		near, far := fmt.Sprint("m", i), "eth0"
		n.must(here.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: near}, PeerName: far, PeerNamespace: netlink.NsFd(space)}))
		n.must(here.LinkSetMaster(must(here.LinkByName(near))(t), bridge))
		n.up(here, near, "")
		n.up(there, "lo", "")
		n.up(there, far, addressOf(i))
		n.spaces = append(n.spaces, space)
		n.places = append(n.places, etcdtest.Place{
			Address: net.JoinHostPort(addressOf(i), "2379"), Peer: net.JoinHostPort(addressOf(i), "2380"),
			In: func(start func() error) error { return n.in(space, start) },
		})
	}
	return n
}

func (n *network) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// up gives a link an address, if it is to have one, and brings it up.
func (n *network) up(h *netlink.Handle, name, address string) {
	n.t.Helper()
	link := must(h.LinkByName(name))(n.t)
	if address != "" {
		n.must(h.AddrAdd(link, must(netlink.ParseAddr(address+"/24"))(n.t)))
	}
	n.must(h.LinkSetUp(link))
}

// space is a new namespace, which lasts as long as its handle and those in it.
func (n *network) space() (space netns.NsHandle) {
	n.t.Helper()
	runtime.LockOSThread()
	space = must(netns.New())(n.t)
	n.must(netns.Set(n.own))
	runtime.UnlockOSThread()
	n.t.Cleanup(func() { _ = space.Close() })
	return space
}

// in does something in a namespace.
func (n *network) in(space netns.NsHandle, do func() error) error {
	runtime.LockOSThread()
	if err := netns.Set(space); err != nil {
		return err
	}
	done := do()
	if err := netns.Set(n.own); err != nil {
		return errors.Join(done, err) // the thread stays this goroutine's, and is nobody else's
	}
	runtime.UnlockOSThread()
	return done
}

// What each end has in its namespace: a table with a chain of what it does not hear.
var (
	table = &nftables.Table{Family: nftables.TableFamilyIPv4, Name: "cut"}
	chain = &nftables.Chain{
		Name: "in", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	}
)

// rulesOf reaches the rules of an end.
func (n *network) rulesOf(end int) *nftables.Conn {
	n.t.Helper()
	space := n.own
	if end != everybody {
		space = n.spaces[end]
	}
	return must(nftables.New(nftables.WithNetNSFd(int(space))))(n.t)
}

// cut has packets be lost so, and no others.
func (n *network) cut(all []deafness) {
	n.t.Helper()
	for end := everybody; end < len(n.spaces); end++ {
		c := n.rulesOf(end)
		c.AddTable(table) // so that there is one
		c.DelTable(table)
		c.AddTable(table)
		c.AddChain(chain)
		for _, d := range all {
			if d.at != end {
				continue
			}
			const sourceOffset, addressLen = 12, 4
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: sourceOffset, Len: addressLen},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: net.ParseIP(addressOf(d.to)).To4()},
				&expr.Counter{},
				&expr.Verdict{Kind: expr.VerdictDrop},
			}})
		}
		n.must(c.Flush())
	}
}

// loses says whether packets were lost since the cut.
func (n *network) loses() bool {
	n.t.Helper()
	for end := everybody; end < len(n.spaces); end++ {
		for _, rule := range must(n.rulesOf(end).GetRules(table, chain))(n.t) {
			for _, e := range rule.Exprs {
				if counter, ok := e.(*expr.Counter); ok && counter.Packets > 0 {
					return true
				}
			}
		}
	}
	return false
}
