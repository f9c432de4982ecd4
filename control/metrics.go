package control

import (
	"context"
	"slices"
	"time"

	"github.com/openimds/openimds"
)

// maxPoints is the most periods that one question spans, as CloudWatch limits it.
const maxPoints = 1440

// maxSeries is the most that [Service.MetricSeries] spans, as CloudWatch limits GetMetricData.
const maxSeries = 100800

// MetricData returns the points of a metric of an instance by periods that are laid from start, as
// [openimds.MetricHistory] says; of a status check it is the one of now. A unit that the metric does not have
// yields none.
//
// Errors: OperationFailure/NotEnforced for a metric that is not measured here, and for status checks of earlier;
// InvalidInput/UnknownValue for the metric, InvalidInput/OutOfRange for the period,
// InvalidInput/Conflicting for times in the wrong order, InvalidInput/TooMany for more points than CloudWatch
// gives; NotFound/DoesNotExist; Unavailable/HistoryAway.
func (s *Service) MetricData(ctx context.Context, name, metric, unit string, start, end time.Time, period time.Duration) ([]openimds.MetricPoint, error) {
	return s.metricData(ctx, name, metric, unit, start, end, period, maxPoints)
}

// MetricSeries is [Service.MetricData] for times of up to 100,800 periods.
//
// Errors: OperationFailure/NotEnforced, InvalidInput/UnknownValue, InvalidInput/OutOfRange, InvalidInput/Conflicting and
// InvalidInput/TooMany as there; NotFound/DoesNotExist; Unavailable/HistoryAway.
func (s *Service) MetricSeries(ctx context.Context, name, metric, unit string, start, end time.Time, period time.Duration) ([]openimds.MetricPoint, error) {
	return s.metricData(ctx, name, metric, unit, start, end, period, maxSeries)
}

func (s *Service) metricData(ctx context.Context, name, metric, unit string, start, end time.Time, period time.Duration, most int) ([]openimds.MetricPoint, error) {
	m, ok := openimds.FindMetric(metric)
	if !ok {
		return nil, openimds.Errorf(openimds.InvalidInput, openimds.UnknownValue, "The metric %.100s does not exist", metric)
	}
	if err := checkPoints(start, end, period, most); err != nil {
		return nil, err
	}
	in, _, err := s.instance(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case !m.Counted && !m.Checked:
		return nil, notMeasured(metric)
	case unit != m.Unit:
		return nil, nil
	case m.Checked:
		return s.checkPoint(ctx, in, metric, start, end, period)
	}
	points, err := s.points(ctx, in, start, end, period, metric)
	if err != nil {
		return nil, err
	}
	return points[0], nil
}

// MetricCounts returns, by its name, how much of each counted metric there was of an instance: the sum of
// the points that [Service.MetricData] has of it.
//
// Errors: InvalidInput/OutOfRange for the period, InvalidInput/Conflicting for times in the wrong
// order, InvalidInput/TooMany for more points than CloudWatch gives; NotFound/DoesNotExist;
// Unavailable/HistoryAway.
func (s *Service) MetricCounts(ctx context.Context, name string, start, end time.Time, period time.Duration) (map[string]int64, error) {
	if err := checkPoints(start, end, period, maxPoints); err != nil {
		return nil, err
	}
	in, _, err := s.instance(ctx, name)
	if err != nil {
		return nil, err
	}
	metrics := openimds.Metrics()
	points, err := s.points(ctx, in, start, end, period, metrics...)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int64, len(metrics))
	for i, metric := range metrics {
		sum := 0.0
		for _, p := range points[i] {
			sum += p.Sum
		}
		counts[metric] = int64(sum)
	}
	return counts, nil
}

// checkPoints refuses a time that cannot be divided into periods, or into too many.
func checkPoints(start, end time.Time, period time.Duration, most int) error {
	if period < time.Minute || period%time.Minute != 0 {
		return openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "The period must be a multiple of 60 seconds, not %d", int64(period/time.Second))
	}
	if !start.Before(end) {
		return openimds.Errorf(openimds.InvalidInput, openimds.Conflicting, "The start time must be before the end time")
	}
	if wanted := (end.Sub(start)-1)/period + 1; wanted > time.Duration(most) {
		return openimds.Errorf(openimds.InvalidInput, openimds.TooMany, "You have requested up to %d datapoints, which exceeds the limit of %d. You may reduce the datapoints requested by increasing %s, or decreasing the time range.", wanted, most, openimds.FieldPeriod)
	}
	return nil
}

// points reads the points of each of the metrics.
func (s *Service) points(ctx context.Context, in *openimds.Instance, start, end time.Time, period time.Duration, metrics ...string) ([][]openimds.MetricPoint, error) {
	if s.cfg.History == nil {
		return make([][]openimds.MetricPoint, len(metrics)), nil
	}
	points, err := s.cfg.History.Points(ctx, in.ID, metrics, start, end, period)
	if err != nil {
		return nil, openimds.Errorf(openimds.Unavailable, openimds.HistoryAway, "The history of the metrics cannot be read; try again").Because(err)
	}
	return points, nil
}

// Known tells how far the calls of an instance in a time are known. The zero start is the instance's
// beginning, and the zero end now.
//
// Errors: NotFound/DoesNotExist; Unavailable/HistoryAway.
func (s *Service) Known(ctx context.Context, name string, start, end time.Time) (openimds.Known, error) {
	in, _, err := s.instance(ctx, name)
	if err != nil {
		return openimds.Known{}, err
	}
	asked := span{start, end}
	if now := s.cfg.Now(); end.IsZero() || end.After(now) {
		asked.until = now
		end = now.Add(1) // the sample of this moment is one of them
	}
	if start.Before(in.CreatedAt) {
		asked.since = in.CreatedAt
	}
	// With the sample before: whether somebody counted in all of the first one, nothing else tells.
	from := asked.since.Truncate(openimds.MetricPeriod).Add(-openimds.MetricPeriod)
	samples, err := s.points(ctx, in, from, end, openimds.MetricPeriod, openimds.MetricNoToken)
	if err != nil {
		return openimds.Known{}, err
	}
	return knownBy(samples[0], in.CreatedAt, asked), nil
}

// span is a time from a moment until another.
type span struct{ since, until time.Time }

// knownBy tells how far a time is known of which there are those samples, or sums of them by the hour, and the one before
// it. A sample is there if the instance was watched at some moment of it, so that the first one after a time without any,
// and the last one before, are not known as a whole: they are left out, lest more seems to be known than is.
func knownBy(samples []openimds.MetricPoint, created time.Time, asked span) openimds.Known {
	t := knownTime{created: created, asked: asked, partial: slices.ContainsFunc(samples, func(p openimds.MetricPoint) bool {
		return p.Partial > 0 && p.Start.Before(asked.until) && p.Start.Add(time.Duration(p.Samples)*openimds.MetricPeriod).After(asked.since)
	})}
	for _, run := range runsOf(samples, created.Truncate(openimds.MetricPeriod)) {
		t.add(run)
	}
	return t.known()
}

// knownTime is how far a time is known, while it is put together.
type knownTime struct {
	created time.Time
	asked   span

	since, until time.Time
	covered      time.Duration
	partial      bool // of a sample not all is known
}

// add adds a run of samples that follow each other, which is later than those that were added.
func (t *knownTime) add(run span) {
	if !run.until.After(t.asked.since) {
		return
	}
	sure := run.sure(t.created, t.asked)
	if t.since.IsZero() || t.covered == 0 {
		t.since = sure.since
	}
	t.until = sure.until
	t.covered += sure.until.Sub(sure.since)
}

func (t *knownTime) known() openimds.Known {
	k := openimds.Known{Since: t.since, Until: t.until}
	k.Missing = max(k.Until.Sub(k.Since)-t.covered, 0)
	// The sample that is under way may not have begun yet where it is counted.
	k.Complete = !t.partial && !k.Since.IsZero() && k.Missing == 0 && !k.Since.After(t.asked.since) && !k.Until.Before(t.asked.until.Add(-openimds.MetricPeriod))
	return k
}

// runsOf are the times in which one sample follows the other. Of the hour in which the instance was born, nothing is
// missing that was before. A sample of which not all is known counts as one that is not there.
func runsOf(samples []openimds.MetricPoint, born time.Time) (runs []span) {
	for _, p := range samples {
		begins := p.Start
		if begins.Before(born) {
			begins = born
		}
		if p.Samples == p.Partial {
			continue
		}
		ends := begins.Add(time.Duration(p.Samples-p.Partial) * openimds.MetricPeriod)
		if last := len(runs) - 1; last >= 0 && runs[last].until.Equal(begins) {
			runs[last].until = ends
		} else {
			runs = append(runs, span{begins, ends})
		}
	}
	return runs
}

// sure is the part of a run of samples, and of the time asked for, that was watched as a whole.
func (run span) sure(created time.Time, asked span) span {
	sure := asked
	if second := run.since.Add(openimds.MetricPeriod); asked.since.Before(second) && created.Before(run.since) {
		sure.since = second
	}
	if run.until.Before(asked.until) {
		sure.until = run.until
		if run.until.Before(asked.until.Add(-openimds.MetricPeriod)) {
			sure.until = run.until.Add(-openimds.MetricPeriod)
		}
	}
	if sure.since.After(sure.until) {
		sure.since = sure.until
	}
	return sure
}

// CallersOf returns who called an instance's metadata service at or after since, the latest first.
//
// Errors: NotFound/DoesNotExist; Unavailable/HistoryAway.
func (s *Service) CallersOf(ctx context.Context, name string, since time.Time) ([]openimds.Caller, error) {
	in, _, err := s.instance(ctx, name)
	if err != nil || s.cfg.Callers == nil {
		return nil, err
	}
	callers, err := s.cfg.Callers.Callers(ctx, in.ID, since)
	if err != nil {
		return nil, openimds.Errorf(openimds.Unavailable, openimds.HistoryAway, "The list of callers cannot be read; try again").Because(err)
	}
	return callers, nil
}

// bootsKnown is how many of an instance's latest operations are looked through for its boots.
const bootsKnown = 50

// BootsOf returns when an instance was started, as far as its operations are remembered: what its guest does by
// itself is not known here.
//
// Errors: NotFound/DoesNotExist.
func (s *Service) BootsOf(ctx context.Context, in *openimds.Instance) ([]time.Time, error) {
	ops, _, err := s.OperationsOf(ctx, in.Name, "", bootsKnown)
	if err != nil {
		return nil, err
	}
	boots := []time.Time{in.CreatedAt}
	for _, op := range ops {
		if (op.Type == "StartInstance" || op.Type == "RebootInstance") && op.CreatedAt.After(in.CreatedAt) {
			boots = append(boots, op.CreatedAt)
		}
	}
	return boots, nil
}

// notMeasured refuses a metric that is known and has no points here, ever.
func notMeasured(metric string) error {
	return openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "The metric %s is not measured here: openimds sees what guests ask the metadata service, and nothing else of them", metric)
}
