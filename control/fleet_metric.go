package control

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/openimds/openimds"
)

// maxWorst is how many instances are told with points of their own.
const maxWorst = 50

// FleetMetric is what all instances of a region counted of a metric.
type FleetMetric struct {
	Points []openimds.FleetPoint
	// Worst are those that counted most, the most first.
	Worst   []InstanceMetric
	Unknown FleetUnknown
}

// InstanceMetric is what one of them counted.
type InstanceMetric struct {
	Name   string
	Sum    int64
	Points []openimds.MetricPoint
}

// FleetUnknown says of how many instances not all of a time is known.
type FleetUnknown struct {
	Instances int
	// Time is how much is not known, of all of them together.
	Time time.Duration
	// Names are some of them.
	Names []string
}

// namedUnknown is how many of those are named.
const namedUnknown = 5

func (u *FleetUnknown) add(name string, known openimds.Known, unknown time.Duration) {
	if known.Complete {
		return
	}
	u.Instances++
	u.Time += unknown
	if len(u.Names) < namedUnknown {
		u.Names = append(u.Names, name)
	}
}

// FleetMetric returns the points of a counted metric of all instances that are there now, by periods that are laid from
// start, with those of the worst. Of the points of the worst, those are left out in which nothing is known of them.
//
// Errors: InvalidInput/UnknownValue for a metric that is not counted, InvalidInput/OutOfRange for the period, for a start
// that is farther back than [openimds.FleetKept] or for more than 50 of the worst, InvalidInput/Conflicting for times in
// the wrong order, InvalidInput/TooMany for more points than CloudWatch gives; OperationFailure/TooMany in a region of
// more than 100,000 instances; Unavailable/HistoryAway.
func (s *Service) FleetMetric(ctx context.Context, metric string, start, end time.Time, period time.Duration, worst int) (FleetMetric, error) {
	var told FleetMetric
	now := s.cfg.Now()
	if m, ok := openimds.FindMetric(metric); !ok || !m.Counted {
		return told, openimds.Errorf(openimds.InvalidInput, openimds.UnknownValue, "The metric %.100s is not counted here", metric)
	}
	if worst < 0 || worst > maxWorst {
		return told, openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "Of the worst there are 0 to %d told, not %d", maxWorst, worst)
	}
	if err := cmp.Or(checkPoints(start, end, period, maxPoints), checkFleetTime(start, now)); err != nil {
		return told, err
	}
	if end.After(now) {
		end = now.Add(1) // the sample of this moment is one of them
	}
	all, err := s.instances.all(ctx, s.store)
	if err != nil {
		return told, err
	}
	counts, err := s.counted(ctx, metric, start, end)
	if err != nil {
		return told, err
	}
	type ranked struct {
		*FleetInstance
		sum int64
	}
	var most []ranked
	there := make(map[string]bool, len(all))
	for _, in := range all {
		there[in.ID] = true
		n, known, unknown := counts.of(in)
		told.Unknown.add(in.Name, known, unknown)
		if n > 0 {
			most = append(most, ranked{in, n})
		}
	}
	slices.SortStableFunc(most, func(a, b ranked) int { return cmp.Compare(b.sum, a.sum) })
	for _, in := range most[:min(worst, len(most))] {
		points, err := s.points(ctx, &openimds.Instance{ID: in.ID}, start, end, period, metric)
		if err != nil {
			return told, err
		}
		told.Worst = append(told.Worst, InstanceMetric{in.Name, in.sum, points[0]})
	}
	told.Points, err = s.fleetPoints(ctx, there, metric, start, end, period)
	return told, err
}

func (s *Service) fleetPoints(ctx context.Context, there map[string]bool, metric string, start, end time.Time, period time.Duration) ([]openimds.FleetPoint, error) {
	history, ok := s.cfg.History.(openimds.FleetHistory)
	if !ok {
		return nil, nil
	}
	points, err := history.FleetPoints(ctx, func(id string) bool { return there[id] }, metric, start, end, period)
	if err != nil {
		return nil, openimds.Errorf(openimds.Unavailable, openimds.HistoryAway, "The history of the metrics cannot be read; try again").Because(err)
	}
	return points, nil
}

// FleetCallers are the callers of one instance of many.
type FleetCallers struct {
	*FleetInstance
	openimds.CallersSince
}

// CallersWithoutToken returns the callers of all instances that were called without a session token since then, whatever
// became of the calls, by instance: all callers of each, for what there is to do about one the others may tell. It also
// says of how many instances not all of that time is known.
//
// Errors: InvalidInput/OutOfRange for a since that is farther back than [openimds.FleetKept]; OperationFailure/TooMany in a
// region of more than 100,000 instances; Unavailable/HistoryAway.
func (s *Service) CallersWithoutToken(ctx context.Context, since time.Time) ([]FleetCallers, FleetUnknown, error) {
	var unknown FleetUnknown
	now := s.cfg.Now()
	if err := checkFleetTime(since, now); err != nil {
		return nil, unknown, err
	}
	all, err := s.instances.all(ctx, s.store)
	if err != nil {
		return nil, unknown, err
	}
	counts, err := s.counted(ctx, openimds.MetricNoToken, since, now.Add(1))
	if err != nil {
		return nil, unknown, err
	}
	there := make(map[string]bool, len(all))
	for _, in := range all {
		there[in.ID] = true
		_, known, time := counts.of(in)
		unknown.add(in.Name, known, time)
	}
	list, ok := s.cfg.Callers.(openimds.FleetCallerList)
	if !ok {
		return nil, unknown, nil
	}
	called, err := list.CallersWithoutToken(ctx, func(id string) bool { return there[id] }, since)
	if err != nil {
		return nil, unknown, openimds.Errorf(openimds.Unavailable, openimds.HistoryAway, "The list of callers cannot be read; try again").Because(err)
	}
	var found []FleetCallers
	for _, in := range all {
		if callers, ok := called[in.ID]; ok {
			found = append(found, FleetCallers{in, callers})
		}
	}
	return found, unknown, nil
}
