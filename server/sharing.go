package server

import (
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds/credentials"
	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/socketowner"
)

// checkSharing refuses to give real credentials to every user of this machine without having been told
// to. It goes by the sources alone, which are fixed at the start: whatever role the instance of
// IMDSListen is given later, nothing opens that was not open at the start.
func (c *Config) checkSharing() error {
	shared, allow, roles := c.named("IMDSShared"), c.named("IMDSAllowUsers"), c.named("RoleCredentials")
	if c.IMDSShared && len(c.IMDSAllowUsers) > 0 {
		return invalid("give one of %s and %s: the first lets every user call, the second only some", shared, allow)
	}
	if len(c.IMDSAllowUsers) > 0 && !socketowner.Supported {
		return invalid("%s needs Linux; leave %s out, or let every user of this machine have them with %s", allow, roles, shared)
	}
	if credentials.Real(c.RoleCredentials) && !c.IMDSShared && len(c.IMDSAllowUsers) == 0 {
		return invalid("%s gives real credentials, and every user of this machine can call %s: name those who may with %s USER, or let all with %s",
			roles, c.named("IMDSListen"), allow, shared)
	}
	_, err := c.allowedUIDs()
	return err
}

// allowedUIDs are the users who alone may call IMDSListen; none: all.
func (c *Config) allowedUIDs() (map[uint32]bool, error) {
	uids := make(map[uint32]bool, len(c.IMDSAllowUsers))
	for _, name := range c.IMDSAllowUsers {
		uid, err := userID(name)
		if err != nil {
			return nil, invalid("%s %q: %w", c.named("IMDSAllowUsers"), name, err)
		}
		uids[uid] = true
	}
	return uids, nil
}

// userID finds a user by number or name.
func userID(name string) (uint32, error) {
	text := name
	if strings.Trim(name, "0123456789") != "" {
		found, err := user.Lookup(name)
		if err != nil {
			return 0, errors.New("there is no such user; give a name or a number")
		}
		text = found.Uid
	}
	uid, err := strconv.ParseUint(text, 10, 32)
	if err != nil || uid == math.MaxUint32 {
		return 0, errors.New("it is no user's number")
	}
	if safefile.Unmapped(uint32(uid)) {
		return 0, errors.New("in this user namespace it is the number of all users from outside; name another")
	}
	return uint32(uid), nil
}

// turnedAwayEvery is how often the log is told of callers that were turned away, however many come.
const turnedAwayEvery = 10 * time.Second

// doorkeeper lets those users call that IMDSAllowUsers names. Nobody else is let in, root neither, and
// nobody of whom it is not known who it is.
type doorkeeper struct {
	owners *socketowner.Finder
	allow  map[uint32]bool
	named  string // what IMDSAllowUsers is called
	log    *slog.Logger

	mu     sync.Mutex
	told   time.Time
	untold int
}

func newDoorkeeper(allow map[uint32]bool, named string, log *slog.Logger) (*doorkeeper, error) {
	owners, err := socketowner.New()
	if err != nil {
		return nil, err
	}
	return &doorkeeper{owners: owners, allow: allow, named: named, log: log}, nil
}

func (d *doorkeeper) admit(caller, service netip.AddrPort) bool {
	uid, err := d.owners.Owner(caller, service)
	if err == nil && d.allow[uid] {
		return true
	}
	d.tell(caller, uid, err)
	return false
}

func (d *doorkeeper) tell(caller netip.AddrPort, uid uint32, err error) {
	d.mu.Lock()
	if time.Since(d.told) < turnedAwayEvery {
		d.untold++
		d.mu.Unlock()
		return
	}
	others := d.untold
	d.told, d.untold = time.Now(), 0
	d.mu.Unlock()
	if err != nil {
		d.log.Warn("a caller was turned away: whose its connection is cannot be told", "caller", caller, "error", err, "others", others)
		return
	}
	d.log.Warn("a caller was turned away: "+d.named+" does not name its user", "caller", caller, "uid", uid, "others", others)
}

func (d *doorkeeper) close() { _ = d.owners.Close() }
