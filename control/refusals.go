package control

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/refusals"
)

// maxRefusals is how many instances one may wait for at once.
const maxRefusals = 1000

// refusalsEvery is how often the numbers of this process are looked at while somebody waits for another one. Nobody else is
// held up by that: it reads counters in memory.
const refusalsEvery = 100 * time.Millisecond

// SeenRefusals is an instance with the number of its refused calls that was told last, and what counted it; nil: none was.
type SeenRefusals struct {
	Name    string
	Seen    *int64
	Counter string
}

// Refused is what is known of the refused calls of an instance, at all hosts that serve it.
type Refused struct {
	Name string
	refusals.Count
}

// newRefusalWatch makes what knows of refused calls at other hosts.
func (s *Service) newRefusalWatch() *refusals.Watch {
	return refusals.NewWatch(refusals.WatchConfig{
		Store: s.store, Host: s.cfg.Host, Counter: s.cfg.Refusals, HostTTL: HostTTL, Now: s.cfg.Now,
		Find: func(ctx context.Context, name string) (string, error) {
			in, _, err := s.instance(ctx, name)
			if openimds.KindOf(err) == openimds.NotFound {
				return "", nil
			}
			if err != nil {
				return "", err
			}
			return in.ID, nil
		},
	})
}

// FollowRefusals follows what hosts tell of refused calls, until the context ends. Without it, the store is read at each
// question, and whoever waits hears of what hosts tell by the next one.
func (s *Service) FollowRefusals(ctx context.Context, log *slog.Logger) { s.refused.Run(ctx, log) }

// WaitForRefusals returns what is known of the refused calls of each of the instances that exist, and when it was
// read: as soon as one is another than was seen, or is known of which none was seen, at the latest after the wait. Without a
// wait and a number that was seen of it nobody is taken to wait for an instance: its hosts are not asked to tell.
//
// Errors: InvalidInput/TooMany for more than 1000 instances. An instance that does not exist is left out.
func (s *Service) WaitForRefusals(ctx context.Context, of []SeenRefusals, wait time.Duration) ([]Refused, time.Time, error) {
	if len(of) > maxRefusals {
		return nil, time.Time{}, openimds.Errorf(openimds.InvalidInput, openimds.TooMany, "At most %d instances can be waited for at once, not %d", maxRefusals, len(of))
	}
	return s.waitForRefusals(ctx, of, wait)
}

func (s *Service) waitForRefusals(ctx context.Context, of []SeenRefusals, wait time.Duration) ([]Refused, time.Time, error) {
	names := make([]string, len(of))
	for i, one := range of {
		names[i] = one.Name
	}
	waits := func(i int) bool { return wait > 0 || of[i].Seen != nil }
	end := time.NewTimer(wait)
	defer end.Stop()
	tick := time.NewTicker(refusalsEvery)
	defer tick.Stop()
	for look := s.refused.Look; ; look = s.refused.LookAgain {
		at := s.cfg.Now()
		counts, news, err := look(ctx, names, waits)
		if known, ok := errors.AsType[*openimds.Error](err); ok {
			return nil, time.Time{}, known
		}
		if err != nil {
			return nil, time.Time{}, storeFailed(err)
		}
		refused, done := refusedOf(of, counts)
		if done || wait == 0 {
			return refused, at, nil
		}
		select {
		case <-ctx.Done():
			return refused, at, nil
		case <-end.C:
			return refused, at, nil
		case <-news:
		case <-tick.C:
		}
	}
}

// refusedOf are the counts of the instances that exist, and whether one is another than was seen.
func refusedOf(of []SeenRefusals, counts []refusals.Count) (refused []Refused, news bool) {
	refused = make([]Refused, 0, len(of))
	for i, c := range counts {
		if c.InstanceID == "" {
			news = true // which it is, too
			continue
		}
		refused = append(refused, Refused{of[i].Name, c})
		seen, counter := of[i].Seen, of[i].Counter
		switch {
		case c.NoToken == nil:
			news = news || seen == nil && !c.Awaited
		case seen == nil, *c.NoToken != *seen, counter != "" && c.Counter != counter:
			news = true
		}
	}
	return refused, news
}

// refusalsTime is how long it is waited for hosts to tell why they refused calls.
const refusalsTime = 3 * time.Second

// RefusalsOf returns what was refused to an instance's guest, at all hosts that serve it, since each of them does. Where ask
// is true, hosts other than this one are asked, and waited for; of those that have not told it is not known, which Unknown
// says.
//
// Errors: NotFound/DoesNotExist.
func (s *Service) RefusalsOf(ctx context.Context, name string, ask bool) (refusals.Count, error) {
	wait := time.Duration(0)
	if ask {
		wait = refusalsTime
	}
	all, _, err := s.waitForRefusals(ctx, []SeenRefusals{{Name: name}}, wait)
	if err != nil {
		return refusals.Count{}, err
	}
	if len(all) == 0 {
		return refusals.Count{}, doesNotExist(openimds.TypeInstance, name)
	}
	return all[0].Count, nil
}

// KeepRefused keeps what this service's host has told of the refused calls of its instances, for whoever waits for them.
func (s *Service) KeepRefused(ctx context.Context, all []records.Refused) error {
	for i := range all {
		all[i].Process = s.process
	}
	if err := refusals.Keep(ctx, s.store, s.cfg.Host, all...); err != nil {
		return storeFailed(err)
	}
	return nil
}
