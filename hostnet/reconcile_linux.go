package hostnet

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/google/nftables"
)

// reconcile makes the host so as the seats want it. It adds before it deletes; orphans are attachments
// that no seat has any more. It is called for every change, and when there was none.
func (h *Network) reconcile(orphans []*attachment) error {
	if err := h.take(); err != nil {
		if len(h.seats) > 0 && h.blocked.Swap(&err) == nil {
			h.cfg.Log.Warn("no guest is attached", "reason", err)
		}
		for _, s := range h.seats {
			h.report(s, Failed, err.Error())
		}
		return err
	}
	h.blocked.Store(nil)
	spots, orphans := h.resolve(orphans)
	var errs []error
	for _, id := range h.order {
		s := h.seats[id]
		where, ok := spots[s]
		if !ok {
			if s.status.State == Failed {
				errs = append(errs, fmt.Errorf("%s: %s", s.ID, s.status.Reason))
			}
			continue
		}
		if s.at != nil && (s.at.where != where || !s.at.there()) {
			orphans = append(orphans, s.at)
			s.at, s.lost = nil, s.lost || !s.at.there()
		}
		if s.spot != where {
			s.spot, s.failure = where, nil
		}
		err := h.seatAt(s, where)
		if errors.Is(err, errAbsent) {
			s.lost = true
			h.report(s, Waiting, s.place()+" does not exist")
		} else if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.ID, err))
			s.problem = strings.ReplaceAll(err.Error(), "\n", "; ")
		}
	}
	if h.installed = h.install(orphans); h.installed != nil {
		err := h.installed
		orphans = append(orphans, h.abandon(err)...)
		errs = append(errs, err)
	}
	taken := map[inode]bool{}
	for _, s := range h.seats {
		if s.at != nil {
			taken[s.at.where.ns] = true
		}
	}
	for _, s := range h.seats {
		if s.at != nil {
			s.at.trim()
		}
	}
	h.shut(orphans, taken)
	h.publish()
	return errors.Join(errs...)
}

// retry is how long what failed is left alone. A Set does not wait.
const retry = 5 * time.Second

// seatAt attaches a seat, or brings its attachment up to date.
func (h *Network) seatAt(s *seat, where place) (err error) {
	if s.at != nil {
		s.at.endpoint = s.Endpoint
	}
	if s.failure != nil && time.Now().Before(s.retry) {
		return s.failure
	}
	defer func() {
		if !errors.Is(err, errAbsent) { // events tell of what comes
			s.failure, s.retry = err, time.Now().Add(retry)
		}
	}()
	if s.at == nil {
		s.at, err = h.open(s, where)
		s.was = s.was || s.at != nil
		if s.at == nil && s.PID != 0 {
			s.fault = err // the next process with this PID is another one
		}
		return err
	}
	_, has6 := s.at.serving[v6]
	if has6 == s.IPv6 {
		return nil
	}
	return h.serve(s.at) // what is not wanted is trimmed when nothing leads there
}

// install leads packets to the attachments of the seats, and none to those of the orphans; where those
// were stays guarded.
func (h *Network) install(orphans []*attachment) error {
	if err := h.adopt(); err != nil {
		h.leadNobodyTo(orphans)
		return err
	}
	h.guardAll()
	interfaces := false
	for _, s := range h.seats {
		a := s.at
		if a == nil || a.ns != nil {
			continue
		}
		interfaces = true
		h.ports = h.ports || a.where.bridge != 0
		if now := a.ledTo(h.links); now != a.led {
			a.led = now
			want := a.want(h.links)
			h.ledger.change(a.elements, want)
			a.elements = want
		}
	}
	h.leadNobodyTo(orphans)
	h.heed()
	if len(h.guards) == 0 && len(h.cfg.Uplinks) == 0 {
		return h.uninstall()
	}
	err := h.bring(interfaces)
	if err != nil {
		// What is in the tables is not known any more: make them anew.
		h.cfg.Log.Warn("tables of nftables are made anew", "err", err)
		for _, t := range h.firewall.tables {
			t.built = false
		}
		err = h.bring(interfaces)
	}
	return err
}

func (h *Network) leadNobodyTo(orphans []*attachment) {
	for _, a := range orphans {
		h.ledger.change(a.elements, nil)
		a.elements, a.led = nil, led{}
	}
}

// bring brings the tables up to date, and the routing if any interface is attached.
func (h *Network) bring(interfaces bool) error {
	for _, family := range []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyARP, nftables.TableFamilyBridge} {
		if h.firewall.tables[family].built ||
			family == nftables.TableFamilyARP && !interfaces || family == nftables.TableFamilyBridge && !h.ports {
			continue
		}
		h.ledger.forget(family)
		guards := h.ledger.changes(func(slot element) bool { return slot.family == family && slot.guards() })
		if err := h.firewall.build(family, guards); err != nil {
			if family == nftables.TableFamilyBridge && !h.portsAttached() && lacking(err) {
				continue
			}
			return err
		}
		h.ledger.done(guards)
	}
	h.bindAnswers()
	changes := h.ledger.changes(func(slot element) bool { return h.firewall.tables[slot.family].built })
	if err := h.firewall.apply(changes); err != nil {
		return err
	}
	h.ledger.done(changes)
	for _, f := range families {
		if !interfaces {
			if err := h.unroute(f); err != nil {
				return err
			}
			continue
		}
		if err := h.route(f); err != nil && f == v4 {
			return err
		}
	}
	h.layBack()
	if !interfaces {
		return h.firewall.remove(nftables.TableFamilyARP)
	}
	return nil
}

// bindAnswers makes answers independent of what others on a bridge say. Without it a guest is still told
// apart and answered, but others can delay its answers.
func (h *Network) bindAnswers() {
	bridges := map[int]string{}
	for _, s := range h.seats {
		if s.at != nil && s.at.where.bridge != 0 {
			bridges[s.at.where.bridge] = h.links.byIndex[s.at.where.bridge].name
		}
	}
	t := h.firewall.tables[nftables.TableFamilyNetdev]
	if len(bridges) == 0 {
		_ = h.firewall.remove(nftables.TableFamilyNetdev)
		return
	}
	if time.Now().Before(h.bindAgain) {
		return
	}
	var err error
	if !t.built {
		h.ledger.forget(nftables.TableFamilyNetdev)
		err = h.firewall.build(nftables.TableFamilyNetdev, nil)
	}
	if err == nil {
		err = h.firewall.hook(bridges)
	}
	if err != nil {
		h.bindAgain = time.Now().Add(time.Minute)
		err = fmt.Errorf("others on the bridge can delay the answers: %w", err)
		_ = h.firewall.remove(nftables.TableFamilyNetdev)
	}
	h.unbound = err
}

// portsAttached says whether the table of the ports of bridges is needed for more than guarding.
func (h *Network) portsAttached() bool {
	for _, s := range h.seats {
		if s.at != nil && s.at.where.bridge != 0 {
			return true
		}
	}
	return false
}

// uninstall leaves the host as it was before.
func (h *Network) uninstall() error {
	errs := []error{h.firewall.remove(allFamilies...)}
	for _, f := range families {
		errs = append(errs, h.unroute(f))
	}
	h.layBack()
	h.ports = false
	return errors.Join(errs...)
}

// abandon gives all interfaces up, since it is not known where their packets go.
func (h *Network) abandon(err error) []*attachment {
	var orphans []*attachment
	for _, s := range h.seats {
		if s.at != nil && s.at.ns == nil {
			orphans = append(orphans, s.at)
			s.at = nil
			h.report(s, Failed, err.Error())
		}
	}
	h.leadNobodyTo(orphans)
	for _, t := range h.firewall.tables {
		t.built = false
	}
	return orphans
}

// publish gives listeners out, says where the addresses are, and reports.
func (h *Network) publish() {
	h.lookForDrops()
	stations := map[int]net.HardwareAddr{}
	for _, id := range h.order {
		s := h.seats[id]
		if s.at == nil {
			if s.problem != "" {
				h.report(s, Failed, s.problem)
			}
			continue
		}
		for f, serving := range s.at.serving {
			if serving.stop == nil {
				serving.stop = h.cfg.Serve(s.ID, serving.listener)
			}
			if device := max(s.at.where.bridge, 0); f == v6 && s.at.ns == nil {
				if device == 0 {
					device = s.at.where.ifindex
				}
				stations[device] = h.links.station(device)
			}
		}
		problem := s.problem
		if problem == "" && s.at.where.bridge != 0 && h.unbound != nil {
			problem = h.unbound.Error()
		}
		if s.at.ns == nil {
			problem = cmp.Or(problem, h.deaf(s), h.dropAll)
		}
		if l := h.links.byIndex[s.at.where.ifindex]; s.Interface != l.name && problem == "" {
			problem = "the interface is called " + l.name + " now"
		}
		switch t := s.at.trouble; {
		case t != nil && !t.mended:
			h.report(s, Failed, t.text())
		default:
			h.report(s, Attached, cmp.Or(problem, t.text()))
		}
	}
	if h.neighbours == nil {
		return
	}
	if err := h.neighbours.set(stations); err != nil {
		h.cfg.Log.Warn("some links are not told where "+addr6.String()+" is", "err", err)
	}
}
