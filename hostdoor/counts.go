package hostdoor

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/usage"
	"github.com/openimds/openimds/usage/history"
)

// counted is a record that a host has counted, as it is to be kept.
type counted struct {
	key string
	// over is what the store is to have in the place of what it has (nil: nothing), and nil for nothing.
	over func(stored []byte) []byte
}

// counts keeps what the host has counted, beside what others have: each record is a host's own, and has all that it
// counted of an instance on a day, so that one that comes late or twice counts once.
func (c *call) counts(ctx context.Context) (any, error) {
	var q hostlink.CountsRequest
	if err := read(c.body, &q); err != nil {
		return nil, err
	}
	if err := cmp.Or(items(len(q.Records), hostlink.MaxCounted), items(len(q.Refused), hostlink.MaxRefused), checkRefused(q.Refused)); err != nil {
		return nil, err
	}
	var answer hostlink.CountsAnswer
	var all []counted
	seen := map[string]bool{}
	h := c.door.cfg.Regions[0].Service.ForHost(control.HostProcess{Name: c.host.Name, Enrolment: c.host.Enrolment})
	stays, err := h.StaysOf(ctx)
	if err != nil {
		return nil, err
	}
	outside := 0
	for _, r := range q.Records {
		if len(r.Key) > hostlink.MaxText { // it would be told again in the answer
			return nil, malformed("a key is longer than 1 KiB")
		}
		over, whole, err := c.mayCount(ctx, r, stays)
		if _, refused := errors.AsType[notCounted](err); refused || seen[r.Key] {
			answer.Refused = append(answer.Refused, r.Key)
			continue
		}
		if err != nil {
			return nil, err
		}
		if !whole {
			outside++
		}
		seen[r.Key] = true
		all = append(all, counted{r.Key, over})
	}
	if n := len(answer.Refused); n > 0 {
		c.audit("", fmt.Sprintf("%d of the counts are not of this host's instances, cannot be read, or are to be told to the engine of the metrics", n))
	}
	if outside > 0 {
		c.audit("", fmt.Sprintf("%d of the counts are of times in which this host did not have the instance, and are not kept", outside))
	}
	// Last, and not as a condition of each write: a count that comes a moment late is of before all the same.
	if err := h.Enrolled(ctx); err != nil {
		return nil, err
	}
	if err := c.keepCounted(ctx, all); err != nil {
		return nil, err
	}
	answer.Heard = len(q.Refused) > 0
	return answer, c.keepRefused(ctx, stays, q.Refused) // after who called: whoever hears of it asks who it was
}

// keepAttempts is how often counts are put together with what the store has before the host has to ask again.
const keepAttempts = 5

// keepCounted puts what was counted together with what the store has, each under the condition that it still has that: of
// two requests of a host, of which one was given up and is being carried out all the same, neither undoes the other.
func (c *call) keepCounted(ctx context.Context, all []counted) error {
	whole, names := c.door.cfg.Whole, map[string]bool{}
	var err error
	for range keepAttempts {
		var writes []store.Write
		var again []counted
		for _, one := range all {
			was, err := whole.Get(ctx, one.key)
			if err != nil && !errors.Is(err, store.ErrNoRecord) {
				return err
			}
			value := one.over(was.Value)
			if bytes.Equal(value, was.Value) {
				continue
			}
			if name := countsName(one.key); !names[name] {
				if err := c.counting(ctx, name); err != nil {
					return err
				}
				names[name] = true
			}
			change := store.Change{Verb: store.Put, Key: one.key, Value: value, If: was.Revision} // of none: IfAbsent
			if value == nil {
				change.Verb = store.Delete
			}
			writes = append(writes, store.Write{Change: change, Done: func(int64) {}, Conflict: func() { again = append(again, one) }})
		}
		if err = store.CommitEach(ctx, whole, writes); !errors.Is(err, store.ErrConflict) {
			return err
		}
		all = again
	}
	return err
}

// notCounted says why a record is not kept.
type notCounted struct{ error }

// clockMargin is how far the clocks of hosts and replicas may be apart.
const clockMargin = 5 * time.Minute

// mayCount says how a record is to be kept, and refuses what is not a count of this host's, or of no time in which it had
// the instance: what was counted of one that has moved away since comes late, and is to be known all the same. whole says
// that none of it is left out.
func (c *call) mayCount(ctx context.Context, r hostlink.Counted, stays *control.StaysOf) (over func(stored []byte) []byte, whole bool, err error) {
	refuse := func(err error) (func([]byte) []byte, bool, error) { return nil, true, notCounted{err} }
	now := time.Now()
	name := countsName(r.Key)
	own := hostlink.CountedBy(name) == c.host.Name
	isSample, isMark := strings.HasPrefix(r.Key, history.SamplePrefix), r.Key == history.MarkKey(name) || r.Key == history.EngineMarkKey(name)
	engine := c.door.cfg.Installation != ""
	switch {
	case own && isSample && engine && len(r.Value) == 0: // it takes back what it tells the engine
		return func([]byte) []byte { return nil }, true, nil
	case engine && isSample:
		return refuse(errEngine)
	case own && isMark:
		if _, err := history.ForeignMark(r.Key, r.Value, now); err != nil && len(r.Value) > 0 {
			return refuse(err)
		}
		value := bytes.Clone(r.Value)
		if len(value) == 0 {
			value = nil
		}
		return func([]byte) []byte { return value }, true, nil
	case isSample:
		day, err := history.Foreign(r.Key, r.Value, now)
		if err == nil && !own {
			err = errOtherHost
		}
		if err != nil {
			return refuse(err)
		}
		had, err := stays.Instance(ctx, day.InstanceID)
		if err != nil {
			return nil, true, err
		}
		left, whole := day.Only(func(since, until time.Time) bool { return had.Has(since.Add(-clockMargin), until.Add(clockMargin)) })
		if len(had) == 0 || left == 0 && !whole {
			err = notCounted{control.ErrNotServed}
		}
		return day.Over, whole, err
	}
	id, _, latest, err := usage.ForeignCallers(r.Key, r.Value, now)
	if err == nil && !own {
		err = errOtherHost
	}
	if err != nil {
		return refuse(err)
	}
	had, err := stays.Instance(ctx, id)
	if err == nil && !had.Has(latest.Add(-clockMargin), latest.Add(clockMargin)) {
		err = notCounted{control.ErrNotServed}
	}
	return func(stored []byte) []byte {
		if usage.LaterCallers(r.Value, stored) {
			return r.Value
		}
		return stored
	}, true, err
}

var (
	errOtherHost = errors.New("it is another host's count")
	errEngine    = errors.New("an engine of metrics is asked for it")
)
