package control

import (
	"context"
	"time"

	"github.com/openimds/openimds"
)

// maxRefusals is how many instances one may wait for at once.
const maxRefusals = 1000

// refusalsEvery is how often the numbers are looked at while somebody waits for another one. Nobody else is
// held up by that: it reads counters in memory.
const refusalsEvery = 100 * time.Millisecond

// SeenRefusals is an instance with the number of its refused calls that was told last, and the counter's; nil: none was.
type SeenRefusals struct {
	Name    string
	Seen    *int64
	Counter string
}

// Refused is how many calls of an instance were refused for want of a token; nil: it is not known, for this
// service's process does not serve it. Counter is another one where the number has begun at zero anew.
type Refused struct {
	Name, ID string
	Refused  *int64
	Counter  string
}

// WaitForRefusals returns the number of refused calls of each of the instances that exist, and when it was
// read: as soon as one is another than was seen, at the latest after the wait.
//
// Errors: InvalidInput/TooMany for more than 1000 instances. An instance of which NotFound/DoesNotExist holds is left out.
func (s *Service) WaitForRefusals(ctx context.Context, of []SeenRefusals, wait time.Duration) ([]Refused, time.Time, error) {
	if len(of) > maxRefusals {
		return nil, time.Time{}, openimds.Errorf(openimds.InvalidInput, openimds.TooMany, "At most %d instances can be waited for at once, not %d", maxRefusals, len(of))
	}
	refused := make([]Refused, 0, len(of))
	seen := make([]SeenRefusals, 0, len(of))
	for _, one := range of {
		in, _, err := s.instance(ctx, one.Name)
		if openimds.KindOf(err) == openimds.NotFound {
			wait = 0 // which is news, too
			continue
		}
		if err != nil {
			return nil, time.Time{}, err
		}
		refused, seen = append(refused, Refused{Name: in.Name, ID: in.ID}), append(seen, one)
	}
	end := time.NewTimer(wait)
	defer end.Stop()
	tick := time.NewTicker(refusalsEvery)
	defer tick.Stop()
	for {
		at := s.cfg.Now()
		if s.countRefusals(refused, seen) || wait == 0 {
			return refused, at, nil
		}
		select {
		case <-ctx.Done():
			return refused, at, nil
		case <-end.C:
			return refused, at, nil
		case <-tick.C:
		}
	}
}

// countRefusals reads the numbers, and says whether one is another than was seen.
func (s *Service) countRefusals(refused []Refused, seen []SeenRefusals) (news bool) {
	for i := range refused {
		now := &refused[i]
		now.Refused, now.Counter = nil, ""
		if s.cfg.Refusals != nil {
			if n, counter, known := s.cfg.Refusals.Refused(now.ID); known {
				now.Refused, now.Counter = new(int64(n)), counter
			}
		}
		before := seen[i]
		anew := before.Counter != "" && now.Counter != before.Counter
		news = news || before.Seen == nil || now.Refused != nil && (anew || *now.Refused != *before.Seen)
	}
	return news
}
