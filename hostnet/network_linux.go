package hostnet

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Network is the metadata side of this host's network. One process on a host (exactly: in a network
// namespace) can have one.
type Network struct {
	cfg        Config
	missing    []string
	visitor    *visitor
	neighbours *neighbours // nil without CAP_NET_RAW
	blocked    atomic.Pointer[error]
	boot       string // the kernel's boot id
	machine    []byte // its ID, from which addresses may follow

	mu         sync.Mutex // for all below
	lock       *lock      // nil: busy says why
	busy       error
	closing    bool // what is attached is given up, and stays guarded
	closed     bool
	installed  error // why the tables and the routing are not as they should be
	given      bool  // what is to be attached is known
	following  bool  // Run tells of changes; otherwise Set has to ask
	links      *links
	seats      map[string]*seat
	order      []string // IDs as they were given
	marks      map[uint32]bool
	lastMark   uint32
	firewall   *firewall
	ledger     *ledger
	routes     map[*family]bool  // that may be there
	routed     map[*family]bool  // that were put there
	checkAgain time.Time         // not before
	devices    map[int]*device   // that guests are heard by
	backRules  map[uint32]bool   // of classes, that may be there
	backSkips  bool              // so may those that lead past them
	checkBack  bool              // what leads back may have been taken away
	said       *hearsay          // by the host's tables, of guests; nil: nobody has asked
	lostCalls  map[uint32]string // of attachments, by their marks: where their guests' calls are lost
	dropAll    string            // why those of all are, as nftables was at dropsAt
	dropsAt    uint32
	dropsAgain time.Time // not before
	next       int       // of order, that is inspected
	// guards are the places that are guarded, with their elements; adopted: those of an earlier process
	// among them. left are namespaces that were attached, with the path of each.
	guards    map[guard][]element
	adopted   bool
	left      map[inode]string
	ports     bool      // some of the guarded are ports of a bridge
	unbound   error     // why answers on bridges depend on what others there say
	bindAgain time.Time // that it is tried to bind them
}

// seat is an endpoint that is wanted, and what has become of it.
type seat struct {
	Endpoint
	status EndpointStatus
	at     *attachment // nil: it is not attached
	was    bool        // it has been attached
	fault  error       // it cannot be attached as it was given
	ns     *namespace  // that was looked up and not yet attached
	bound  *Face       // what it is bound to; nil: nothing yet, or it goes by the name
	found  *Face       // what has its name and is another one
	lost   bool        // its link has been missing
	// problem is what could not be had of the attachment, or why there is none.
	problem string
	// learned is what its guest was found to have at learnedAt.
	learned   []GuestLink
	learnedAt place
	// spot is where it belongs; attaching there failed, and is not to be tried before retry.
	spot    place
	failure error
	retry   time.Time
}

// New takes the host's network over. It changes nothing yet. If another process has it, New does not fail:
// Set does, and what was set is attached when the other has gone and Run notices.
func New(cfg Config) (*Network, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	missing, err := capabilities()
	if err != nil {
		return nil, err
	}
	h := &Network{
		cfg: cfg, missing: missing, boot: bootID(), machine: machineID(),
		links: newLinks(), seats: map[string]*seat{}, marks: map[uint32]bool{},
		firewall: newFirewall(cfg.Mark, cfg.Uplinks), ledger: newLedger(), routes: map[*family]bool{}, routed: map[*family]bool{},
		guards: map[guard][]element{}, left: map[inode]string{}, lostCalls: map[uint32]string{}, devices: map[int]*device{}, backRules: map[uint32]bool{},
	}
	h.marks[cfg.Mark|unwrappedIndex] = true // no attachment's
	for _, name := range cfg.Uplinks {
		h.ledger.change(nil, uplinkElements(name))
	}
	h.ports = len(cfg.Uplinks) > 0
	if h.visitor, err = newVisitor(); err != nil {
		return nil, err
	}
	_ = h.take() // if another process is there, Set says so
	if h.neighbours, err = newNeighbours(cfg.Mark); err != nil {
		h.neighbours = nil
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EAFNOSUPPORT) {
			h.missing = append(h.missing, fmt.Sprintf("neighbour discovery for %v: %v", addr6, err))
		}
	}
	return h, nil
}

// capabilities says what the process lacks, and fails if nothing can be done without.
func capabilities() (missing []string, err error) {
	var data [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &data[0]); err != nil {
		return nil, fmt.Errorf("capabilities of this process: %w", err)
	}
	has := func(c uint) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }
	if !has(unix.CAP_NET_ADMIN) {
		return nil, fmt.Errorf("%w: CAP_NET_ADMIN is missing; run as root, or grant it to the service", ErrUnable)
	}
	for _, c := range []struct {
		bit  uint
		text string
	}{
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN: attaching network namespaces"},
		{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE: attaching the namespace of another user's process"},
		{unix.CAP_NET_RAW, "CAP_NET_RAW: telling guests that have " + addr6.String() + " on their own link where it is (guests with a route to it need nothing); knowing without delay that an interface has gone"},
	} {
		if !has(c.bit) {
			missing = append(missing, c.text)
		}
	}
	return missing, nil
}

// Missing says, one line each, which capabilities the process lacks and for what.
func (h *Network) Missing() []string { return slices.Clone(h.missing) }

// Set makes the host answer for these endpoints and no others. What cannot be done does not keep the
// rest from being done: the error joins what failed, [Network.Status] says what is true, and Run tries
// again. An endpoint that waits for its interface or namespace is no error.
//
// An endpoint with the ID and place of an earlier one stays attached. One with another ID at the same
// place is attached anew, and connections of the earlier one are dead.
func (h *Network) Set(endpoints []Endpoint) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errors.New("hostnet: Set after Close")
	}
	h.given = true
	if !h.following {
		if err := h.links.list(); err != nil {
			return err
		}
	}
	seats := make(map[string]*seat, len(endpoints))
	h.order = h.order[:0]
	for _, e := range endpoints {
		e.Sources = slices.Clone(e.Sources)
		if twin := seats[e.ID]; twin != nil {
			twin.fault = fmt.Errorf("endpoint %q: it is given twice", e.ID)
			continue
		}
		h.order = append(h.order, e.ID)
		s := &seat{Endpoint: e, fault: e.Validate(), bound: e.Bound}
		if old := h.seats[e.ID]; old != nil && old.samePlace(e) {
			s.status, s.was, s.lost = old.status, old.was, old.lost
			s.learned, s.learnedAt = old.learned, old.learnedAt
			s.at, s.ns, old.at, old.ns = old.at, old.ns, nil, nil
			s.status.Endpoint = e
			if s.bound == nil && h.cfg.Bind == nil {
				s.bound = old.bound
			}
			if e.PID != 0 {
				s.fault = old.fault
			}
		}
		seats[e.ID] = s
	}
	orphans := h.unseat()
	h.seats = seats
	return h.reconcile(orphans)
}

// unseat takes the attachments of all seats.
func (h *Network) unseat() (orphans []*attachment) {
	for _, s := range h.seats {
		if s.at != nil {
			orphans = append(orphans, s.at)
		}
		if s.ns != nil {
			s.ns.close()
		}
	}
	h.seats = nil
	return orphans
}

// samePlace says whether an attachment of the one is one of the other.
func (s *seat) samePlace(e Endpoint) bool {
	return s.Interface == e.Interface && s.Netns == e.Netns && s.PID == e.PID && slices.Equal(s.Sources, e.Sources)
}

// Status is what is true now, in the order of the last Set.
func (h *Network) Status() []EndpointStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]EndpointStatus, 0, len(h.order))
	for _, id := range h.order {
		out = append(out, h.seats[id].status)
	}
	return out
}

// kind is what the seat is at, for people.
func (s *seat) kind() string {
	switch {
	case s.Interface != "":
		return "interface"
	case s.PID != 0:
		return "process"
	}
	return "namespace"
}

// report notes what has become of a seat.
func (h *Network) report(s *seat, state State, reason string) {
	now := EndpointStatus{Endpoint: s.Endpoint, State: state, Reason: reason, Found: s.found}
	if s.at != nil {
		_, now.IPv4 = s.at.serving[v4]
		_, now.IPv6Answers = s.at.serving[v6]
		now.Bridge = h.links.byIndex[s.at.where.bridge].name
	}
	old := s.status
	if old.State == now.State && old.Reason == now.Reason && old.IPv4 == now.IPv4 && sameFace(old.Found, now.Found) &&
		old.IPv6Answers == now.IPv6Answers && old.Bridge == now.Bridge {
		return
	}
	now.Since = time.Now()
	s.status = now
	if h.cfg.Changed != nil {
		h.cfg.Changed(now)
	}
}

func sameFace(a, b *Face) bool { return a == b || a != nil && b != nil && *a == *b }

// take takes the lock, if it is not taken.
func (h *Network) take() error {
	if h.lock != nil {
		return nil
	}
	was := h.busy
	h.lock, h.busy = takeLock(h.cfg.Log)
	if h.busy != nil && was == nil { // which is nothing to worry about while none is to be
		h.cfg.Log.Info("this process attaches no guests for now", "reason", h.busy)
	}
	return h.busy
}

// Blocked says why nothing of what was set is attached: another process has the host's network. It waits
// for nothing.
func (h *Network) Blocked() error {
	if err := h.blocked.Load(); err != nil {
		return *err
	}
	return nil
}

// Close detaches all endpoints. Where they were stays guarded; all else is left as it was.
func (h *Network) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closing = true
	orphans := h.unseat()
	h.order = nil
	var err error
	if h.given && h.lock != nil {
		for _, t := range h.firewall.tables {
			t.built = false // one step for all that leads to attachments, instead of one for each
		}
		err = h.reconcile(orphans)
	}
	h.closed = true
	if h.neighbours != nil {
		h.neighbours.close()
	}
	h.visitor.close()
	if h.lock != nil {
		h.lock.release()
	}
	return err
}
