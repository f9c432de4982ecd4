package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// Namespaces can be found by several openimds processes of one machine: the host's, those in containers,
// and test runs. So the table in each says whose it is, and what a living process has in force no other
// one removes or replaces.

// claim is what the table in a namespace says of who answers there.
type claim struct {
	owner   string           // the network namespace of the process; two processes never share one
	port    uint16           // of its listener for IPv4, which every attachment has
	address map[*family]bool // the address on the loopback interface came with it
}

// guestTable is the table in a namespace. Its name is not that of a Host's tables: the namespace may be
// one's home.
func guestTable() *nftables.Table {
	return &nftables.Table{Name: tableName + "-guest", Family: nftables.TableFamilyINet}
}

// owner is the Host's network namespace, as readlink(1) shows it for /proc/PID/ns/net.
func (h *Host) owner() string { return fmt.Sprintf("net:[%d]", h.visitor.id.ino) }

// The comments of a claim's rules, one for each family.
const (
	addressOurs   = "guests; the address is openimds's"
	addressTheirs = "guests; the address was here before"
	servedFrom    = "; served from "
)

func claimText(owner string, ours bool) string {
	if ours {
		return addressOurs + servedFrom + owner
	}
	return addressTheirs + servedFrom + owner
}

// readClaim reads the claim in the thread's namespace; nil: there is none.
func readClaim() (*claim, error) {
	conn, err := dial()
	if err != nil {
		return nil, err
	}
	table := guestTable()
	rules, err := conn.GetRules(table, &nftables.Chain{Name: "prerouting", Table: table})
	if errors.Is(err, unix.ENOENT) || err == nil && len(rules) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("nftables: %w%s", err, hint(err))
	}
	c := &claim{address: map[*family]bool{}}
	for i, r := range rules[:min(len(rules), len(families))] {
		comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
		whose, owner, _ := strings.Cut(comment, servedFrom)
		c.owner, c.address[families[i]] = owner, whose == addressOurs
		for _, e := range r.Exprs {
			if to, ok := e.(*expr.Immediate); ok && families[i] == v4 && len(to.Data) == 2 {
				c.port = binary.BigEndian.Uint16(to.Data)
			}
		}
	}
	return c, nil
}

// free says whether an owner may take the claim over or remove it: it is its own, from before, or its
// process has ended and with it the listener. The owner's own namespace is no sign of life, and one that
// cannot be seen from here none of death.
func (c *claim) free(owner string) bool {
	if c.owner == owner {
		return true
	}
	sockets, err := os.ReadFile("/proc/thread-self/net/tcp")
	if err != nil {
		return false
	}
	const listening = "0A" // TCP_LISTEN; proc(5) has addresses in the order of this machine
	local := fmt.Sprintf(" %08X:%04X ", binary.NativeEndian.Uint32(addr4.AsSlice()), c.port)
	return !strings.Contains(string(sockets), local+"00000000:0000 "+listening+" ")
}
