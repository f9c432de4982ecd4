package hostdoor

import (
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

// counts keeps what the host has counted, beside what others have: each record is a host's own, and has all that it
// counted of an instance on a day, so that one that comes late or twice counts once. A host sends one request after the
// other, and gives up no request before this end has ([callTime]), so that the latest comes last.
func (c *call) counts(ctx context.Context) (any, error) {
	var q hostlink.CountsRequest
	if err := read(c.body, &q); err != nil {
		return nil, err
	}
	if err := items(len(q.Records), hostlink.MaxCounted); err != nil {
		return nil, err
	}
	var answer hostlink.CountsAnswer
	var writes []store.Write
	seen := map[string]bool{}
	served := map[string]error{} // by instance: a host counts many days of one
	for _, r := range q.Records {
		if len(r.Key) > hostlink.MaxText { // it would be told again in the answer
			return nil, malformed("a key is longer than 1 KiB")
		}
		change := store.Change{Verb: store.Put, Key: r.Key, Value: r.Value, If: store.Whatever}
		var err error
		switch {
		case r.Key == history.MarkKey(c.host.Name) && len(r.Value) == 0:
			change.Verb = store.Delete
		case r.Key == history.MarkKey(c.host.Name):
			err = isMark(r)
		default:
			err = c.mayCount(ctx, r, served)
		}
		if _, refused := errors.AsType[notCounted](err); refused || seen[r.Key] {
			answer.Refused = append(answer.Refused, r.Key)
			continue
		}
		if err != nil {
			return nil, err
		}
		seen[r.Key] = true
		writes = append(writes, store.Write{Change: change, Done: func(int64) {}, Conflict: func() {}})
	}
	if n := len(answer.Refused); n > 0 {
		c.audit("", fmt.Sprintf("%d of the counts are not of this host's instances, or cannot be read", n))
	}
	// Last, and not as a condition of each write: a count that comes a moment late is of before all the same.
	h := c.door.cfg.Regions[0].Service.ForHost(control.HostProcess{Name: c.host.Name, Enrolment: c.host.Enrolment})
	if err := h.Enrolled(ctx); err != nil {
		return nil, err
	}
	return answer, store.CommitEach(ctx, c.door.cfg.Whole, writes)
}

// isMark refuses what is no mark.
func isMark(r hostlink.Counted) error {
	if _, err := history.ForeignMark(r.Key, r.Value, time.Now()); err != nil {
		return notCounted{err}
	}
	return nil
}

// notCounted says why a record is not kept.
type notCounted struct{ error }

// mayCount refuses what is not a count of this host's, of an instance that it serves or has counted before: what was
// counted of one that has moved away since comes late, and is to be known all the same.
func (c *call) mayCount(ctx context.Context, r hostlink.Counted, served map[string]error) error {
	var id, host string
	var err error
	if strings.HasPrefix(r.Key, history.SamplePrefix) {
		id, host, err = history.Foreign(r.Key, r.Value, time.Now())
	} else {
		id, host, err = usage.ForeignCallers(r.Key, r.Value, time.Now())
	}
	if err != nil {
		return notCounted{err}
	}
	if host != c.host.Name {
		return notCounted{errors.New("it is another host's count")}
	}
	err, known := served[id]
	if !known {
		err = c.serves(ctx, id)
		served[id] = err
	}
	if !errors.Is(err, errNoInstance) {
		if errors.Is(err, control.ErrNotServed) {
			return notCounted{err}
		}
		return err
	}
	// Of an instance that is there no more, nothing tells who has served it but what was counted.
	for _, key := range []string{r.Key, usage.CallersKey(id, host)} {
		if _, err := c.door.cfg.Whole.Get(ctx, key); !errors.Is(err, store.ErrNoRecord) {
			return err
		}
	}
	return notCounted{control.ErrNotServed}
}

// errNoInstance says that there is no instance of that id in any region.
var errNoInstance = errors.New("there is no such instance")

// serves says whether what the host has counted of an instance is to be known: control.ErrNotServed, it is not;
// errNoInstance.
func (c *call) serves(ctx context.Context, id string) error {
	for _, region := range c.door.cfg.Regions {
		h := region.Service.ForHost(control.HostProcess{Name: c.host.Name})
		if there, err := h.Counts(ctx, id); there || !errors.Is(err, control.ErrNotServed) {
			return err
		}
	}
	return errNoInstance
}
