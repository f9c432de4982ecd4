package hostnet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Host is the metadata side of this host's network. One process on a host (exactly: in a network
// namespace) can have one.
type Host struct {
	cfg        Config
	missing    []string
	lock       net.Listener
	visitor    *visitor
	neighbours *neighbours // nil without CAP_NET_RAW

	mu        sync.Mutex // for all below
	closed    bool
	following bool // Run tells of changes; otherwise Set has to ask
	links     *links
	seats     map[string]*seat
	order     []string // IDs as they were given
	marks     map[uint32]bool
	lastMark  uint32
	firewall  *firewall
	ledger    *ledger
	routes    map[*family]bool
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
	// problem is what could not be had of the attachment, or why there is none.
	problem string
	// spot is where it belongs; attaching there failed, and is not to be tried before retry.
	spot    place
	failure error
	retry   time.Time
}

// New takes the host's network over. It changes nothing yet.
func New(cfg Config) (*Host, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	missing, err := capabilities()
	if err != nil {
		return nil, err
	}
	h := &Host{
		cfg: cfg, missing: missing,
		links: newLinks(), seats: map[string]*seat{}, marks: map[uint32]bool{},
		firewall: newFirewall(cfg.Mark), ledger: newLedger(), routes: map[*family]bool{},
	}
	// An abstract name belongs to the network namespace and goes with the process.
	h.lock, err = net.Listen("unix", "@openimds/hostnet")
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, errors.New("another openimds process serves the guests of this host: stop it first")
	}
	if err != nil {
		return nil, err
	}
	if h.visitor, err = newVisitor(); err != nil {
		_ = h.lock.Close()
		return nil, err
	}
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
		{unix.CAP_NET_RAW, "CAP_NET_RAW: telling guests that have " + addr6.String() + " on their own link where it is (guests with a route to it need nothing)"},
	} {
		if !has(c.bit) {
			missing = append(missing, c.text)
		}
	}
	return missing, nil
}

// Missing says, one line each, which capabilities the process lacks and for what.
func (h *Host) Missing() []string { return slices.Clone(h.missing) }

// Set makes the host answer for these endpoints and no others. What cannot be done does not keep the
// rest from being done: the error joins what failed, [Host.Status] says what is true, and Run tries
// again. An endpoint that waits for its interface or namespace is no error.
//
// An endpoint with the ID and place of an earlier one stays attached. One with another ID at the same
// place is attached anew, and connections of the earlier one are dead.
func (h *Host) Set(endpoints []Endpoint) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errors.New("hostnet: Set after Close")
	}
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
		s := &seat{Endpoint: e, fault: e.Validate()}
		if old := h.seats[e.ID]; old != nil && old.samePlace(e) {
			s.status, s.was = old.status, old.was
			s.at, s.ns, old.at, old.ns = old.at, old.ns, nil, nil
			s.status.Endpoint = e
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
func (h *Host) unseat() (orphans []*attachment) {
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
func (h *Host) Status() []EndpointStatus {
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
func (h *Host) report(s *seat, state State, reason string) {
	now := EndpointStatus{Endpoint: s.Endpoint, State: state, Reason: reason}
	if s.at != nil {
		_, now.IPv4 = s.at.serving[v4]
		_, now.IPv6Answers = s.at.serving[v6]
		now.Bridge = h.links.byIndex[s.at.where.bridge].name
	}
	old := s.status
	if old.State == now.State && old.Reason == now.Reason && old.IPv4 == now.IPv4 &&
		old.IPv6Answers == now.IPv6Answers && old.Bridge == now.Bridge {
		return
	}
	now.Since = time.Now()
	s.status = now
	if h.cfg.Changed != nil {
		h.cfg.Changed(now)
	}
}

// Close detaches all endpoints and leaves the host as it was.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	orphans := h.unseat()
	h.order = nil
	err := h.reconcile(orphans)
	h.closed = true
	if h.neighbours != nil {
		h.neighbours.close()
	}
	h.visitor.close()
	return errors.Join(err, h.lock.Close())
}

// Sweep removes what an earlier process left that did not come to Close, from the host and from the
// namespaces that can be found: by name, and those of processes. What this Host has attached stays, and
// so does what a living process in another network namespace has.
func (h *Host) Sweep() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	busy := map[inode]bool{}
	onInterfaces := false
	for _, s := range h.seats {
		if s.at != nil && s.at.ns != nil {
			busy[s.at.ns.id] = true
		}
		onInterfaces = onInterfaces || s.at != nil && s.at.ns == nil
	}
	if !onInterfaces {
		for _, t := range h.firewall.tables {
			errs = append(errs, remove(t.Table))
			t.built = false
		}
		for _, f := range families {
			errs = append(errs, h.unroute(f))
		}
	}
	busy[h.visitor.id] = true
	free := func(c *claim) bool { return c.free(h.owner()) }
	for _, path := range namespacePaths() {
		ns, err := openPath(path)
		if err != nil {
			continue // it has gone, or is no namespace
		}
		if !busy[ns.id] {
			busy[ns.id] = true
			if err := h.visitor.in(ns.file, func() error { return vacate(free) }); err != nil && !errors.Is(err, os.ErrPermission) {
				errs = append(errs, fmt.Errorf("namespace %s: %w", path, err))
			}
		}
		ns.close()
	}
	return errors.Join(errs...)
}
