package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// Namespaces can be found by several openimds processes of one machine: the host's, those in containers,
// and test runs. So the table in each says whose it is, and what a living process has in force no other
// one removes or replaces.

// claim is what the table in a namespace says of who answers there.
type claim struct {
	owner   string           // the network namespace of the process; two processes never share one
	address map[*family]bool // the address on the loopback interface came with it
}

// guestTable is the table in a namespace. Its name is not that of a Host's tables: the namespace may be
// one's home.
func guestTable() *nftables.Table {
	return &nftables.Table{Name: tableName + "-guest", Family: nftables.TableFamilyINet}
}

// owner is the Host's network namespace, as readlink(1) shows it for /proc/PID/ns/net.
func (h *Network) owner() string { return fmt.Sprintf("net:[%d]", h.visitor.id.ino) }

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

// readClaim reads the claim in the thread's namespace; nil: there is none. It reads no more than that, since
// whoever is root in the namespace can make the table as long as he likes.
func readClaim() (*claim, error) {
	c := &claim{address: map[*family]bool{}}
	found := 0
	err := query(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, nftables.TableFamilyINet, func(attrs []byte) bool {
		whose, owner, _ := strings.Cut(commentOf(attrs), servedFrom)
		c.owner, c.address[families[found]] = owner, whose == addressOurs
		found++
		return found < len(families)
	}, named(unix.NFTA_RULE_TABLE, guestTable().Name), named(unix.NFTA_RULE_CHAIN, "prerouting"))
	if errors.Is(err, unix.ENOENT) || err == nil && found == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("nftables: %w%s", err, hint(err))
	}
	return c, nil
}

// commentOf is the comment of a rule: its user data are fields of a kind, a length and a text that ends in
// a zero. Whoever is root in a namespace writes them as he likes, and the library believes the lengths.
func commentOf(rule []byte) string {
	fields := attribute(rule, unix.NFTA_RULE_USERDATA)
	for len(fields) >= 2 {
		kind, text := fields[0], fields[2:]
		length := int(fields[1])
		if length > len(text) {
			return ""
		}
		if userdata.Type(kind) == userdata.TypeComment {
			return strings.TrimSuffix(string(text[:length]), "\x00")
		}
		fields = text[length:]
	}
	return ""
}

// socketsRead bounds what is read of a namespace's sockets; listeners come first.
const socketsRead = 1 << 20

// free says whether an owner may take the claim over or remove it: it is its own, from before, or its
// process has ended and with it the listener. The owner's own namespace is no sign of life, and one that
// cannot be seen from here none of death; nor is a listener of its own.
func (c *claim) free(owner string, own uint16) bool {
	if c.owner == owner {
		return true
	}
	file, err := os.Open("/proc/thread-self/net/tcp")
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }()
	sockets, err := io.ReadAll(io.LimitReader(file, socketsRead))
	if err != nil {
		return false
	}
	local := fmt.Sprintf(" %08X:", binary.NativeEndian.Uint32(addr4.AsSlice())) // proc(5) has the order of this machine
	for line := range strings.Lines(string(sockets)) {
		const listening = " 00000000:0000 0A " // TCP_LISTEN
		if strings.Contains(line, local) && strings.Contains(line, listening) && !strings.Contains(line, fmt.Sprintf("%s%04X ", local, own)) {
			return false
		}
	}
	return true
}
