package hostnet

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What was put into the host's tables may be taken away by others: by `nft flush ruleset` of a firewall's
// unit, for instance. nftables tells of each change; and since what tells may be lost, its generation is
// asked for from time to time, which is one number. Only when others have changed something are the
// tables read and held against what they should be.

// watchTables tells, until the context ends, when a table of this package was changed, by whomever. Where
// it cannot, looking again from time to time has to do.
func watchTables(ctx context.Context) <-chan struct{} {
	out := make(chan struct{}, 1)
	const tables = 7 // NFNLGRP_NFTABLES, linux/netfilter/nfnetlink.h
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER, tables)
	if err != nil {
		return out
	}
	_ = socket.SetReceiveBufferSize(4<<20, true)
	context.AfterFunc(ctx, socket.Close)
	go func() {
		for ctx.Err() == nil {
			messages, _, err := socket.Receive()
			if err != nil && !errors.Is(err, unix.ENOBUFS) {
				return
			}
			ours := err != nil // some were lost
			for _, m := range messages {
				ours = ours || bytes.Contains(m.Data, []byte(tableName))
			}
			if !ours {
				continue
			}
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out
}

const (
	// checked is how much longer than a check the time without one is at least.
	checked = 5
	// undone is how long a program that undoes what was put back has it so.
	undone = 250 * time.Millisecond
)

// tablesTold is called when some table of this package was changed; mostly the Host has done it.
func (h *Network) tablesTold() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.checkTables() {
		h.attempt()
	}
}

// checkTables has what others took from the tables put back at the next reconcile, and says so. It reads
// them only if they have changed.
func (h *Network) checkTables() (changed bool) {
	built := false
	for _, t := range h.firewall.tables {
		built = built || t.built
	}
	if h.closed || !built || time.Now().Before(h.checkAgain) {
		return false
	}
	start := time.Now()
	fault, err := h.firewall.check(h.ledger)
	if took := time.Since(start); took > 10*time.Millisecond {
		h.checkAgain = time.Now().Add(checked * took)
	}
	switch {
	case err != nil:
		h.cfg.Log.Warn("tables of nftables cannot be read", "err", err)
	case fault != "":
		h.checkAgain = time.Now().Add(undone)
		h.cfg.Log.Warn("another program has changed the tables of nftables; they are put back", "what", fault)
	}
	return fault != ""
}

// check compares the tables with what they should be. One that is not is to be built again.
func (f *firewall) check(l *ledger) (fault string, err error) {
	gen, err := generation()
	if err != nil || gen == f.verified {
		return "", err
	}
	var faults []string
	// Rules first: without them nothing is guarded, and elements may be many.
	for _, compare := range []func(*table, *ledger) (string, error){f.compareRules, f.compareElements} {
		for _, family := range allFamilies {
			t := f.tables[family]
			if !t.built {
				continue
			}
			what, err := compare(t, l)
			if err != nil {
				return "", err
			}
			if what != "" {
				faults = append(faults, fmt.Sprintf("%s of table %s of family %s", what, tableName, familyName(family)))
				t.built = false
			}
		}
		if len(faults) > 0 {
			break
		}
	}
	if after, err := generation(); err != nil || after != gen || len(faults) > 0 {
		gen = 0
	}
	f.verified = gen
	return strings.Join(faults, ", "), nil
}

func familyName(family nftables.TableFamily) string {
	return cmp.Or(map[nftables.TableFamily]string{
		nftables.TableFamilyARP: "arp", nftables.TableFamilyBridge: "bridge", nftables.TableFamilyNetdev: "netdev",
		nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6",
	}[family], "inet")
}

// compareRules says what of a table's rules is not as it should be; "": all is.
func (f *firewall) compareRules(t *table, _ *ledger) (what string, err error) {
	switch print, err := imprintOf(t.Table, t.constants...); {
	case err != nil:
		return "", err
	case print == imprint{}:
		return "all", nil
	case print != t.print:
		return "rules", nil
	}
	return "", nil
}

// compareElements says what of the elements is not as it should be.
func (f *firewall) compareElements(t *table, l *ledger) (what string, err error) {
	wanted := map[string]int{}
	for slot := range l.there {
		if slot.family == t.Family {
			wanted[slot.set]++
		}
	}
	for name, set := range t.sets {
		if set.Dynamic || slices.Contains(t.constants, name) {
			continue
		}
		elements, err := elementsOf(t.Table, name)
		if err != nil {
			return "", err
		}
		same := len(elements) == wanted[name]
		for _, e := range elements {
			same = same && l.there[e.slot()] == e
		}
		if !same {
			return "elements of set " + name, nil
		}
	}
	return "", nil
}
