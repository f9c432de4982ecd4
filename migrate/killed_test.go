package migrate

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errKilled = errors.New("killed")

// mortal lets so many calls through, and then nothing any more: the process has ended, before that call or with its
// answer on the way.
type mortal struct {
	OpenIMDS
	left  *atomic.Int64
	after bool // the last call was made, and its answer is lost
	kill  context.CancelFunc
}

func (m mortal) spend(call func() error) error {
	switch left := m.left.Add(-1); {
	case left == 0 && m.after:
		_ = call()
		fallthrough
	case left <= 0:
		m.kill()
		return errKilled
	}
	return call()
}

func (m mortal) Instance(ctx context.Context, of Ref) (in Instance, err error) {
	err = m.spend(func() error { in, err = m.OpenIMDS.Instance(ctx, of); return err })
	return in, err
}

func (m mortal) SetOptions(ctx context.Context, of Ref, to Options) error {
	return m.spend(func() error { return m.OpenIMDS.SetOptions(ctx, of, to) })
}

// live is one process on the journal, which ends after so many calls; -1: not before its work does.
func live(t *testing.T, f *fleet, journal string, calls int, after bool, do func(context.Context, *Run) error) error {
	ctx, kill := context.WithCancel(f.ctx)
	defer kill()
	left := new(atomic.Int64)
	left.Store(int64(calls))
	if calls < 0 {
		left.Store(1 << 40)
	}
	run, done := aRun(t, mortal{f.provider(), left, after, kill}, journal)
	defer done()
	run.Warn = func(string) {}
	return do(ctx, run)
}

// Wherever a process ends, the next ones come to the same end, and undoing brings back what was.
func TestKilledAnywhere(t *testing.T) {
	const plan = "hold: 10s\nwaves: [{name: first, names: [web-0]}, {name: rest, rest: true}]\n"
	for calls := 1; calls < 46; calls += 2 {
		for _, after := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				var names []string
				for i := range 6 {
					names = append(names, fmt.Sprintf("web-%d", i))
				}
				f := newFleet(t, names...)
				before := f.options()
				f.every(2*time.Second, func() { f.guests["web-3"].call(t, "curl/7.1") })
				journal := journalIn(t)
				err := live(t, f, journal, calls, after, func(ctx context.Context, run *Run) error { return run.Apply(ctx, aPlan(t, plan)) })
				for n := 0; err != nil && n < 20; n++ {
					kill := -1
					if n < 2 {
						kill = calls // and once more
					}
					err = live(t, f, journal, kill, after, func(ctx context.Context, run *Run) error { return run.Resume(ctx) })
				}
				if errors.Is(err, ErrNothing) {
					err = nil
				}
				now := f.options()
				for _, name := range names {
					want := before[name].With(required)
					if name == "web-3" {
						want = before[name]
					}
					if err != nil || now[name] != want {
						t.Errorf("killed at call %d (after: %v): %v: %s: %s; want %s; %s; %s", calls, after, err, name, now[name], want, kinds(t, journal, name), kinds(t, journal, ""))
					}
				}
				err = live(t, f, journal, calls%11+1, after, func(ctx context.Context, run *Run) error { return run.Undo(ctx, false) })
				for n := 0; err != nil && n < 20; n++ {
					err = live(t, f, journal, -1, false, func(ctx context.Context, run *Run) error { return run.Resume(ctx) })
				}
				for name, now := range f.options() {
					if now != before[name] {
						t.Errorf("undone after %d calls: %s: %s; want %s; %s", calls, name, now, before[name], kinds(t, journal, name))
					}
				}
			})
		}
	}
}
