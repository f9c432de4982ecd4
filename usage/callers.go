package usage

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds/periods"
)

// How many callers of an instance are told apart, and how large their record may become with what tells
// them apart. A guest that changes its User-Agent or its address all the time fills the table once, and
// then counts among the others.
const (
	maxCallers      = 256
	maxCallersBytes = 8 << 10
)

// What a caller takes up in the record beside its words and its windows, and each word beside its bytes.
const (
	callerBytes = 32
	wordBytes   = 2
)

// MaxUserAgent is how many bytes of a User-Agent tell callers apart. A longer one ends with cutMark there.
const MaxUserAgent = 128

const cutMark = "…"

// caller is who used a guest, told apart by three things. It is found without a lock. What it counts, the callers with
// a process count as well, as far as their processes were seen: they are parts of the one without.
type caller struct {
	process         *process // nil: all of them
	source          netip.Addr
	userAgent       string // as sent
	group           group
	first           int64 // Unix nanoseconds; under the guest's mu
	last            atomic.Int64
	firstV1, lastV1 atomic.Int64 // 0: no call without a token
	counts          [countCount]atomic.Uint64
	lost            atomic.Pointer[undelivered] // the latest; nil: none
	forwarded       atomic.Int64                // the latest call through a proxy, in Unix nanoseconds; 0: none
	past            past                        // under the guest's mu
	times           periods.Record              // so is this
	_               [8*cacheLine - 8 - 24 - 16 - 8 - 8 - 8 - 16 - 8*countCount - 8 - 8 - 8*countCount - 24 - 8 - 16*(1+periods.Max)]byte
}

// count notes a call. When it is the first of another sample, what came before it is put away; when it begins
// another visit, its time is noted.
func (c *caller) count(g *Tally, count int, now time.Time) {
	nanos := now.UnixNano()
	if last := c.last.Load(); sampleOf(last) != sampleOf(nanos) || periods.Begins(last, nanos) {
		g.mu.Lock()
		c.turn(nanos, maxWindowBytes/max(g.callers.count, 1))
		g.mu.Unlock()
	}
	c.counts[count].Add(1)
	c.last.Store(nanos)
	if !isV1(count) {
		return
	}
	if first := c.firstV1.Load(); first == 0 || nanos < first { // before: by a clock that was turned back since
		c.firstV1.CompareAndSwap(first, nanos)
	}
	if sampleOf(c.lastV1.Swap(nanos)) != sampleOf(nanos) { // not to be lost by a crash: a save that waits for its turn would tell of none
		g.mu.Lock()
		g.callers.news++
		g.mu.Unlock()
	}
}

// turn prepares for a call at a time that is far from the last one's. The guest's mu is held.
func (c *caller) turn(nanos int64, room int) {
	last := c.last.Load()
	if sampleOf(last) != sampleOf(nanos) {
		c.putAway(room)
	}
	c.times.Note(time.Unix(0, last), time.Unix(0, nanos))
	c.first = min(c.first, nanos) // the clock may have been turned back
	c.last.Store(nanos)           // whoever puts this call away as well has it in the new sample
}

// callers are the callers of one guest.
type callers struct {
	seed maphash.Seed
	// table is replaced by a larger one when it is half full. In between, slots are only filled.
	table atomic.Pointer[callerTable]
	// full: nobody is added any more. Whoever sees it set sees the last table.
	full   atomic.Bool
	others caller

	// The rest is under the guest's mu.
	count int
	bytes int // of the record, about
	named named
	news  int // how often somebody was added or forgotten, or came without a token in another sample
	// What the store has. read: its callers were added to these; known: revision is its record's;
	// saved: the traces that it holds.
	key         string
	read, known bool
	revision    int64
	saved       traces
	savedAt     time.Time
}

type callerTable []atomic.Pointer[caller]

func (c *callers) init(key string, seed maphash.Seed) {
	c.key, c.seed = key, seed
	t := make(callerTable, 8)
	c.table.Store(&t)
}

// hash is keyed, so that nobody can choose User-Agents that collide.
func (c *callers) hash(source netip.Addr, part group, userAgent []byte, by *process) uint64 {
	var b [16 + 1 + 4 + MaxUserAgent]byte
	address := source.As16()
	n := copy(b[:], address[:])
	b[n] = byte(part)
	n++
	if by != nil {
		n += binary.PutUvarint(b[n:], uint64(by.number))
	}
	n += copy(b[n:], userAgent)
	return maphash.Bytes(c.seed, b[:n])
}

// find returns the caller, or nil.
func (t callerTable) find(hash uint64, source netip.Addr, part group, userAgent []byte, by *process) *caller {
	mask := uint64(len(t) - 1)
	for i := hash; ; i++ { // the table is never full, so this ends
		c := t[i&mask].Load()
		if c == nil || c.source == source && c.group == part && c.userAgent == string(userAgent) && c.process == by {
			return c
		}
	}
}

func (t callerTable) put(hash uint64, c *caller) {
	mask := uint64(len(t) - 1)
	for t[hash&mask].Load() != nil {
		hash++
	}
	t[hash&mask].Store(c)
}

// all yields those in the table.
func (t callerTable) all(yield func(*caller) bool) {
	for i := range t {
		if c := t[i].Load(); c != nil && !yield(c) {
			return
		}
	}
}

// caller returns who makes a request; a new one is remembered if there is room.
func (g *Tally) caller(source netip.Addr, part group, userAgent []byte, now time.Time) *caller {
	var room [MaxUserAgent]byte
	userAgent = shorten(userAgent, &room)
	hash := g.callers.hash(source, part, userAgent, nil)
	full := g.callers.full.Load() // before the table: see there
	if c := g.callers.table.Load().find(hash, source, part, userAgent, nil); c != nil {
		return c
	}
	if full {
		return &g.callers.others
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.callers.add(hash, source, part, userAgent, nil, now)
}

// shorten is the User-Agent as callers have it, in room if it is cut.
func shorten(userAgent []byte, room *[MaxUserAgent]byte) []byte {
	if len(userAgent) <= MaxUserAgent {
		return userAgent
	}
	copy(room[copy(room[:MaxUserAgent-len(cutMark)], userAgent):], cutMark)
	return room[:]
}

// cost is what one caller more adds to the record.
func (t callerTable) cost(source netip.Addr, userAgent string) int {
	newSource, newAgent := wordBytes+16, wordBytes+len(userAgent)
	for c := range t.all {
		if c.source == source {
			newSource = 0
		}
		if c.userAgent == userAgent {
			newAgent = 0
		}
	}
	return callerBytes + newSource + newAgent
}

// add remembers a caller; nil: there is no room for one with a process. The guest's mu is held.
func (c *callers) add(hash uint64, source netip.Addr, part group, userAgent []byte, by *process, now time.Time) *caller {
	t := *c.table.Load()
	if known := t.find(hash, source, part, userAgent, by); known != nil {
		return known
	}
	cost := t.cost(source, string(userAgent))
	if by != nil && (c.named.callers == maxNamed || c.count == maxCallers || c.bytes+cost > maxCallersBytes) {
		return nil
	}
	if c.count == maxCallers || c.bytes+cost > maxCallersBytes {
		c.full.Store(true)
		if c.others.first == 0 {
			c.others.first = now.UnixNano()
			c.others.last.Store(now.UnixNano())
			c.others.times.Note(time.Time{}, now)
			c.others.past.from = sampleOf(now.UnixNano())
		}
		return &c.others
	}
	if 2*(c.count+1) > len(t) {
		t = c.rebuild(2*len(t), func(*caller) bool { return true })
	}
	added := &caller{process: by, source: source, group: part, userAgent: string(userAgent), first: now.UnixNano(), past: past{from: sampleOf(now.UnixNano())}}
	added.last.Store(now.UnixNano())
	added.times.Note(time.Time{}, now)
	t.put(hash, added)
	c.count++
	if by != nil {
		c.named.callers++
	}
	c.bytes += cost
	c.news++
	return added
}

// rebuild makes a table of that size of the callers that keep says. The guest's mu is held.
func (c *callers) rebuild(size int, keep func(*caller) bool) callerTable {
	t := make(callerTable, size)
	c.count, c.bytes = 0, 0
	for known := range c.table.Load().all {
		if keep(known) {
			c.bytes += t.cost(known.source, known.userAgent)
			t.put(c.hash(known.source, known.group, []byte(known.userAgent), known.process), known)
			c.count++
		}
	}
	c.table.Store(&t)
	return t
}

// expire forgets who was not seen since, so that there is room for others.
func (g *Tally) expire(since time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c, before := &g.callers, g.callers.count
	c.rebuild(len(*c.table.Load()), func(known *caller) bool { return known.last.Load() >= since.UnixNano() })
	if c.others.last.Load() < since.UnixNano() {
		c.others.first, c.others.past, c.others.times = 0, past{}, periods.Record{}
		c.others.forwarded.Store(0)
		for m := range c.others.counts {
			c.others.counts[m].Store(0)
		}
		c.others.firstV1.Store(0)
		c.others.lastV1.Store(0)
		c.others.lost.Store(nil)
	}
	c.forgetProcesses()
	c.full.Store(false) // until the next one finds it so
	if c.count != before {
		c.news++
	}
}

// traces are what requests leave in the callers: two that are equal hold the same.
type traces struct {
	news    int
	callers int
	counted uint64
	last    int64
}

func (c *callers) traces() traces {
	t := traces{news: c.news, callers: c.count}
	see := func(known *caller) bool {
		for m := range known.counts {
			t.counted += known.counts[m].Load()
		}
		t.last = max(t.last, known.last.Load())
		return true
	}
	c.table.Load().all(see)
	see(&c.others)
	return t
}

func (c *callers) dirty() bool { return c.traces() != c.saved }

// callersEvery is how often a record of callers is written for the sake of its counts; what is news is
// written at once.
const callersEvery = 5 * time.Minute

func (c *callers) due(now time.Time, all bool) bool {
	return (all || c.news != c.saved.news || now.Sub(c.savedAt) >= callersEvery) && c.dirty()
}
