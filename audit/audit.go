// Package audit keeps the log of who changed what and who was refused: a file to which each entry is one
// line of JSON.
//
// A change is made only after its line is on disk; when it cannot be written, there is no change. Lines
// that come at the same time share one wait for the disk. The file may be renamed or cut off by those
// who rotate logs: the next line goes to where the name is.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/safefile"
)

// Config says where the log is and how much hangs on it.
type Config struct {
	Path string
	// BestEffort has changes made that the log has no line of, because it cannot be written; nor do they
	// wait for the disk.
	BestEffort bool
	// Log is told when the log cannot be written, and when it can again.
	Log *slog.Logger
}

// groupSize bounds how many requests share one write.
const groupSize = 256

// Log is an open audit log. It is safe for use by many goroutines.
type Log struct {
	cfg      Config
	requests chan *request
	stop     chan struct{} // closed: the writer is to end
	ended    chan struct{} // closed: it has
	closing  sync.Once

	dropped atomic.Int64 // lines that there was no room for

	index index // of the changes of single resources

	mu      sync.Mutex
	failure error // of the latest write; nil: it worked

	// Of the writer alone.
	file    file
	reserve *safefile.Reserve // nil: there is none
	gap     gap
	owed    []byte // lines that take back others, which may be in the file although they were given up
}

// request is entries on their way to the disk.
type request struct {
	entries []openimds.AuditEntry
	lines   []byte
	put     bool // among those that went to the file
	state   atomic.Int32
	done    chan struct{}
	err     error
}

// A request is pending until one of two comes first: the writer that has its lines on disk, or the
// caller who no longer waits.
const (
	pending = iota
	written
	abandoned
)

// gap is a time without lines.
type gap struct {
	since time.Time
	lines int
	why   error
}

// Open opens the log, and makes it if there is none. latest are the entries of its last lines.
func Open(cfg Config) (l *Log, latest []openimds.AuditEntry, err error) {
	l = &Log{cfg: cfg, requests: make(chan *request, groupSize), stop: make(chan struct{}), ended: make(chan struct{})}
	l.file.path = cfg.Path
	text, err := l.file.open()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open the audit log: %w", err)
	}
	if !cfg.BestEffort {
		// Without room for it now, it is made when there is.
		l.reserve, _ = safefile.OpenReserve(cfg.Path+".reserve", reserveSize, reserveSize)
	}
	go l.write()
	return l, entries(text), nil
}

// errClosed means that the log takes nothing more.
var errClosed = errors.New("the audit log is closed")

// Record writes entries and waits until they are on disk. When it returns an error, none of them may be
// taken for what has happened: those that reached the file all the same are taken back by later lines.
func (l *Log) Record(ctx context.Context, entries ...openimds.AuditEntry) error {
	r := &request{entries: entries, done: make(chan struct{})}
	for _, e := range entries {
		line, err := Line(e)
		if err != nil {
			return err
		}
		r.lines = append(r.lines, line...)
	}
	if !l.cfg.BestEffort {
		return l.submit(ctx, r)
	}
	select {
	case l.requests <- r:
	default: // the disk hangs, and nobody is to wait for it
		l.dropped.Add(int64(len(entries)))
	}
	return nil
}

func (l *Log) submit(ctx context.Context, r *request) error {
	select {
	case l.requests <- r:
	case <-l.stop:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-r.done:
		return r.err
	case <-l.ended:
	case <-ctx.Done():
	}
	if r.state.CompareAndSwap(pending, abandoned) {
		if err := ctx.Err(); err != nil {
			return err
		}
		return errClosed
	}
	<-r.done
	return r.err
}

// Check says why the log cannot be written; nil: it can. After a failure it tries anew.
func (l *Log) Check(ctx context.Context) error {
	l.mu.Lock()
	err := l.failure
	l.mu.Unlock()
	if err == nil || l.cfg.BestEffort {
		return nil
	}
	return l.submit(ctx, &request{done: make(chan struct{})})
}

// Close writes what was taken up and closes the file.
func (l *Log) Close() error {
	err := errClosed
	l.closing.Do(func() {
		close(l.stop)
		<-l.ended
		err = l.file.close()
	})
	return err
}

// write is the only goroutine that writes the file.
func (l *Log) write() {
	defer close(l.ended)
	for {
		select {
		case r := <-l.requests:
			l.writeGroup(l.gather(r))
		case <-l.stop:
			for len(l.requests) > 0 {
				l.writeGroup(l.gather(<-l.requests))
			}
			return
		}
	}
}

// gather takes up the requests that wait already.
func (l *Log) gather(first *request) []*request {
	group := []*request{first}
	for len(group) < groupSize {
		select {
		case r := <-l.requests:
			group = append(group, r)
		default:
			return group
		}
	}
	return group
}

func (l *Log) writeGroup(group []*request) {
	if n := l.dropped.Swap(0); n > 0 && l.gap.why == nil {
		l.gap = gap{time.Now().UTC(), int(n), errors.New("the disk did not keep up")}
	}
	left, err := false, l.refill()
	if err == nil {
		left, err = l.append(group, append(l.gap.line(l.cfg.BestEffort), l.owed...))
	}
	l.note(count(group), err)
	if err == nil {
		l.owed, l.gap = nil, gap{}
	}
	if safefile.NoRoom(err) && !l.cfg.BestEffort {
		group = l.spend(group)
	}
	l.finish(group, left, err)
	if err == nil && len(l.owed) > 0 {
		l.writeGroup(nil)
	}
}

// refill makes the reserve whole. The error says that there is no room for it: what there is, is for
// lines that free some.
func (l *Log) refill() error {
	if l.reserve == nil || l.reserve.Whole() {
		return nil
	}
	return l.reserve.Fill()
}

// append writes the lines of a group behind others. left says that some of them may be in the file
// although they could not be written.
func (l *Log) append(group []*request, text []byte) (left bool, err error) {
	for _, r := range group {
		if r.put = r.state.Load() != abandoned; r.put {
			text = append(text, r.lines...)
		}
	}
	return l.file.append(text, !l.cfg.BestEffort)
}

// spend writes what makes the store smaller into the room of the reserve, and returns the rest of the
// group, for which there is none.
func (l *Log) spend(group []*request) (rest []*request) {
	var freeing []*request
	for _, r := range group {
		if frees(r.entries) {
			freeing = append(freeing, r)
		} else {
			rest = append(rest, r)
		}
	}
	if len(freeing) == 0 || l.reserve.Whole() && !l.reserve.GiveUp() {
		return group
	}
	left, err := l.append(freeing, nil)
	if err == nil {
		l.gap.lines -= count(freeing)
	}
	l.finish(freeing, left, err)
	return rest
}

// finish tells those who wait how their lines fared.
func (l *Log) finish(group []*request, left bool, err error) {
	for _, r := range group {
		if r.err = err; !r.state.CompareAndSwap(pending, written) && r.put && err == nil {
			l.takeBack(r, "the request ended before this line was on disk")
		} else if r.put && err != nil && left {
			l.takeBack(r, "the audit log could not be written")
		}
		if !r.put || err != nil {
			l.keepFailures(r)
		}
		close(r.done)
	}
}

// count is how many lines a group has.
func count(group []*request) (lines int) {
	for _, r := range group {
		lines += len(r.entries)
	}
	return lines
}

// maxOwed bounds what is kept of a disk that takes lines but does not say so. At the next start it is
// found out anyway.
const maxOwed = 1 << 20

// takeBack has a later line say that what r tells of did not happen.
func (l *Log) takeBack(r *request, why string) {
	for _, e := range r.entries {
		if e.Failure == "" && !l.cfg.BestEffort {
			l.owe(e.Failed(time.Now().UTC(), "not made: "+why))
		}
	}
}

// keepFailures has lines that take back others written later, if they could not be now.
func (l *Log) keepFailures(r *request) {
	for _, e := range r.entries {
		if e.Failure != "" && e.Change != "" {
			l.owe(e)
		}
	}
}

func (l *Log) owe(e openimds.AuditEntry) {
	if line, err := Line(e); err == nil && len(l.owed) < maxOwed {
		l.owed = append(l.owed, line...)
	}
}

// note keeps how the latest write went, and tells when that changes.
func (l *Log) note(lines int, err error) {
	l.mu.Lock()
	before := l.failure
	l.failure = err
	l.mu.Unlock()
	switch {
	case err != nil:
		if before == nil {
			l.gap = gap{since: time.Now().UTC()}
			what := "changes are refused until it can"
			if l.cfg.BestEffort {
				what = "changes go on without their lines"
			}
			l.cfg.Log.Error("the audit log cannot be written; "+what, "error", err)
		}
		l.gap.lines += lines
		l.gap.why = err
	case before != nil:
		l.cfg.Log.Info("the audit log can be written again", "lines lost", l.gap.lines)
	}
}

// line tells of a gap; without one it is empty.
func (g gap) line(bestEffort bool) []byte {
	if g.why == nil {
		return nil
	}
	what := "those changes and requests were refused"
	if bestEffort {
		what = "those changes were made all the same"
	}
	line, err := Line(openimds.AuditEntry{
		When: time.Now().UTC(), Who: "openimds", What: "AuditLog",
		Failure: fmt.Sprintf("%d lines could not be written since %s, and %s: %v", g.lines, g.since.Format(time.RFC3339), what, g.why),
	})
	if err != nil {
		return nil
	}
	return line
}
