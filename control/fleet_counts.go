package control

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/openimds/openimds"
)

// fleetCounts are what many instances counted of a metric in a time.
type fleetCounts struct {
	sums  map[string]openimds.MetricSum
	asked span
}

// fleetTime is a time from then until end, which is now if that is earlier; and from when up to before when the samples
// begin that are of it. The sample of this moment is one of them.
func fleetTime(since, end, now time.Time) (asked, samples span) {
	asked, samples = span{since, end}, span{since.Truncate(openimds.MetricPeriod), end}
	if end.After(now) {
		asked.until, samples.until = now, now.Add(1)
	}
	return asked, samples
}

// counted reads what all instances counted of a metric from then until end, in whole samples; up to now at most.
func (s *Service) counted(ctx context.Context, metric string, since, end time.Time) (*fleetCounts, error) {
	asked, samples := fleetTime(since, end, s.cfg.Now())
	c := &fleetCounts{asked: asked}
	history, ok := s.cfg.History.(openimds.FleetHistory)
	if !ok {
		return c, nil
	}
	var err error
	if c.sums, err = history.Sums(ctx, metric, samples.since, samples.until); err != nil {
		return nil, openimds.Errorf(openimds.Unavailable, openimds.HistoryAway, "The history of the metrics cannot be read; try again").Because(err)
	}
	return c, nil
}

// countedOf is counted of one instance, for which few records are read.
func (s *Service) countedOf(ctx context.Context, f *FleetInstance, metric string, since, end time.Time) (*fleetCounts, error) {
	asked, samples := fleetTime(since, end, s.cfg.Now())
	before := samples.since.Add(-openimds.MetricPeriod) // as a MetricSum has it
	points, err := s.points(ctx, &openimds.Instance{ID: f.ID}, before, samples.until, openimds.MetricPeriod, metric)
	if err != nil && (ctx.Err() != nil || errors.Is(err, openimds.ErrEngineAway)) {
		return nil, err
	}
	var sum openimds.MetricSum
	if err != nil { // a record that cannot be read hides no other instance
		sum.Damaged = true
	} else {
		for _, p := range points[0] {
			if !p.Start.Before(samples.since) {
				sum.Sum += int64(p.Sum)
			}
			if p.Partial > 0 {
				sum.Partial = sum.Partial || !p.Start.Before(samples.since)
				continue
			}
			number := p.Start.Unix() / int64(openimds.MetricPeriod/time.Second)
			sum.Samples.Add(openimds.SampleRun{From: number, Until: number + 1})
		}
	}
	return &fleetCounts{sums: map[string]openimds.MetricSum{f.ID: sum}, asked: asked}, nil
}

// of tells what an instance counted, how far that is known, and how much of the time is not: of the time that it was there.
func (c *fleetCounts) of(f *FleetInstance) (n int64, known openimds.Known, unknown time.Duration) {
	sum, asked := c.sums[f.ID], c.asked
	if asked.since.Before(f.CreatedAt) {
		asked.since = f.CreatedAt
	}
	t := knownTime{created: f.CreatedAt, asked: asked, partial: sum.Partial}
	if runs := sum.Samples; runs.Runs > 0 {
		t.add(span{runs.First.Since(), runs.First.End()})
		t.covered += time.Duration(runs.Between) * openimds.MetricPeriod
		if runs.Runs > 1 {
			t.add(span{runs.Last.Since(), runs.Last.End()})
		}
	}
	known = t.known()
	known.Complete = known.Complete && !sum.Damaged
	if !known.Complete {
		unknown = max(asked.until.Sub(asked.since)-t.covered, 0)
	}
	return sum.Sum, known, unknown
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
	counts, err := s.counted(ctx, openimds.MetricNoToken, since, now.Add(1))
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
