package control

import (
	"context"
	"slices"
	"time"

	"github.com/openimds/openimds"
)

// fleetCounts are what many instances counted of a metric from since up to now.
type fleetCounts struct {
	sums       map[string]openimds.MetricSum
	since, end time.Time
}

// counted reads what all instances counted of a metric, from since, in whole samples, up to now.
func (s *Service) counted(ctx context.Context, metric string, since, end time.Time) (*fleetCounts, error) {
	c := &fleetCounts{since: since.Truncate(openimds.MetricPeriod), end: end}
	history, ok := s.cfg.History.(openimds.FleetHistory)
	if !ok {
		return c, nil
	}
	var err error
	if c.sums, err = history.Sums(ctx, metric, c.since, c.end); err != nil {
		return nil, openimds.Errorf(openimds.Unavailable, openimds.HistoryAway, "The history of the metrics cannot be read; try again").Because(err)
	}
	return c, nil
}

// countedOf is counted of one instance, for which few records are read.
func (s *Service) countedOf(ctx context.Context, f *FleetInstance, metric string, since, end time.Time) (*fleetCounts, error) {
	c := &fleetCounts{since: since.Truncate(openimds.MetricPeriod), end: end}
	points, err := s.points(ctx, &openimds.Instance{ID: f.ID}, c.since, end, openimds.MetricPeriod, metric)
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	if err != nil { // a record that cannot be read hides no other instance
		c.sums = map[string]openimds.MetricSum{f.ID: {Damaged: true}}
		return c, nil
	}
	var sum openimds.MetricSum
	for _, p := range points[0] {
		if sum.Samples == 0 {
			sum.First = p.Start
		}
		sum.Sum, sum.Samples, sum.Until = sum.Sum+int64(p.Sum), sum.Samples+p.Samples, p.Start.Add(openimds.MetricPeriod)
	}
	c.sums = map[string]openimds.MetricSum{f.ID: sum}
	return c, nil
}

// of tells what an instance counted, how far that is known, and how much of the time is not: of the time that it was there.
func (c *fleetCounts) of(f *FleetInstance) (n int64, known openimds.Known, unknown time.Duration) {
	born := f.CreatedAt.Truncate(openimds.MetricPeriod)
	start := c.since
	if start.Before(born) {
		start = born
	}
	sum := c.sums[f.ID]
	known = knownOf(sum, born, start, c.end)
	if !known.Complete {
		end := c.end
		if sum.Until.After(end) { // the sample under way is a whole one
			end = sum.Until
		}
		unknown = max(end.Sub(start)-time.Duration(sum.Samples)*openimds.MetricPeriod, 0)
	}
	return sum.Sum, known, unknown
}

// knownOf tells how far a time is known of which there are those samples, by whole ones ([knownBy] is exact). Of an hour
// in which the instance was born, nothing is missing that was before.
func knownOf(s openimds.MetricSum, born, start, end time.Time) openimds.Known {
	if s.Samples == 0 {
		return openimds.Known{}
	}
	k := openimds.Known{Since: s.First, Until: s.Until}
	if k.Since.Before(born) {
		k.Since = born
	}
	k.Missing = max(k.Until.Sub(k.Since)-time.Duration(s.Samples)*openimds.MetricPeriod, 0)
	// The sample that is under way may not have begun yet where it is counted.
	k.Complete = !s.Damaged && k.Missing == 0 && !k.Since.After(start) && !k.Until.Before(end.Add(-openimds.MetricPeriod))
	return k
}

// rank puts instances in the order of their counts, those before of which it is not known that there are none.
func (c *fleetCounts) rank(f *FleetInstance) int64 {
	n, known, _ := c.of(f)
	if n == 0 && !known.Complete {
		return -1
	}
	return n
}

// Fleet is what there is to say of all instances of a region together.
type Fleet struct {
	Instances int
	States    map[openimds.InstanceState]int
	// Access says how many have which, so that all of them together are Instances; Pending are those of them whose
	// options are not obeyed yet.
	Access  map[Access]int
	Pending int
	// Attachments are by their states; Unheard are those whose guests are not answered, or not all of them: any
	// but the attached ones, and those of them with something amiss.
	Attachments map[string]int
	Unheard     int
	// NoToken is how many calls without a token all answered since then, as far as it is known; Unknown is how many
	// instances there are of which it is not known for all of the time.
	NoToken int64
	Unknown int
}

// Fleet tells of all instances of the region together, and of their calls without a token since then.
//
// Errors: InvalidInput/OutOfRange for a since that is farther back than [openimds.FleetKept];
// OperationFailure/TooMany in a region of more than 100,000 instances; Unavailable/HistoryAway.
func (s *Service) Fleet(ctx context.Context, since time.Time) (Fleet, error) {
	now := s.cfg.Now()
	if err := checkFleetTime(since, now); err != nil {
		return Fleet{}, err
	}
	all, err := s.instances.all(ctx, s.store)
	if err != nil {
		return Fleet{}, err
	}
	counts, err := s.counted(ctx, openimds.MetricNoToken, since, now.Add(1)) // the sample of this moment is one of them
	if err != nil {
		return Fleet{}, err
	}
	f := Fleet{Instances: len(all), States: map[openimds.InstanceState]int{}, Access: map[Access]int{}, Attachments: map[string]int{}}
	for _, in := range all {
		f.States[in.State]++
		f.Access[in.Access()]++
		if in.Options.State == openimds.OptionsPending {
			f.Pending++
		}
		n, known, _ := counts.of(in)
		f.NoToken += n
		if !known.Complete {
			f.Unknown++
		}
	}
	return f, s.fleetAttachments(ctx, &f)
}

func (s *Service) fleetAttachments(ctx context.Context, f *Fleet) error {
	attached, err := s.attachments.all(ctx, s.store)
	if err != nil {
		return err
	}
	attached = slices.DeleteFunc(attached, func(a *openimds.Attachment) bool { return a == nil })
	statuses, err := s.AttachmentStatuses(ctx, attached)
	if err != nil {
		return err
	}
	for _, status := range statuses {
		f.Attachments[status.State]++
		if status.State != "attached" || status.Reason != "" {
			f.Unheard++
		}
	}
	return nil
}
