package openimds

import (
	"context"
	"errors"
	"time"
)

// The metrics that the guest side counts, per instance. The names of the first two are AWS's (EC2
// user guide, "CloudWatch metrics for your instances"); of them Lightsail knows only the first.
const (
	// MetricNoToken counts requests that succeeded without a session token: IMDSv1.
	MetricNoToken = "MetadataNoToken"
	// MetricNoTokenRejected counts requests without a token that were refused because tokens are
	// required or the endpoint is disabled.
	MetricNoTokenRejected = "MetadataNoTokenRejected"
	// MetricTokenRequests counts session tokens given out.
	MetricTokenRequests = "MetadataTokenRequests"
	// MetricWithToken counts requests that succeeded with a session token: IMDSv2.
	MetricWithToken = "MetadataWithToken"
	// MetricTokenUndelivered counts session tokens given out whose answer the caller's side did not
	// acknowledge, mostly because the hop limit ended it on the way. Such a caller falls back to IMDSv1
	// and looks as if it knew no better.
	MetricTokenUndelivered = "MetadataTokenUndelivered"
	// MetricWouldBeRefused counts requests that were served without a session token while a [Rehearsal] was
	// under way: just those that requiring session tokens would refuse, what they ask for existing or not.
	// Callers whom their token did not reach are among them as soon as they go on without one.
	MetricWouldBeRefused = "MetadataWouldBeRefused"
)

// What callers are counted by besides the metrics, which have successes and what a missing token alone
// refused.
const (
	// CountNoTokenFailed counts requests without a session token that failed for another reason: what they
	// asked for does not exist, they came too fast, or were refused or met a fault on purpose before a token
	// mattered. They are IMDSv1 all the same.
	CountNoTokenFailed = "MetadataNoTokenFailed"
	// CountWithTokenFailed counts requests with a session token, or for one, that failed.
	CountWithTokenFailed = "MetadataWithTokenFailed"
)

// Metrics returns the names of all counted metrics.
func Metrics() []string {
	return []string{MetricNoToken, MetricNoTokenRejected, MetricTokenRequests, MetricWithToken, MetricTokenUndelivered, MetricWouldBeRefused}
}

// MetricPeriod is the length of one sample of a metric. Samples are aligned to the Unix epoch.
const MetricPeriod = 5 * time.Minute

// MetricPoint is what the samples of one period come to. A sample's value is the number of requests
// counted in its MetricPeriod; a running instance has a sample of zero where nothing was counted, a
// stopped one has none.
type MetricPoint struct {
	// Start of the period.
	Start time.Time
	// Sum, Min and Max of the samples' values.
	Sum, Min, Max float64
	// Samples is how many there are, at least 1: a period without samples makes no point. Of Partial of them not all is
	// known, because a process that counted was killed, or a host cannot tell what it counted: there may have been more calls.
	Samples, Partial int
}

// ToldPoints are those that may be told where nothing else says how far calls are known: without those that have counted
// nothing in a period of which not all is known. whole says that all is known of the others, and that these are all.
func ToldPoints(points []MetricPoint) (told []MetricPoint, whole bool) {
	whole = true
	for _, p := range points {
		whole = whole && p.Partial == 0
		if p.Partial == 0 || p.Sum > 0 {
			told = append(told, p)
		}
	}
	return told, whole
}

// ErrEngineAway says that what other hosts counted is not known, since the engine that has it does not answer.
var ErrEngineAway = errors.New("the engine of the metrics does not answer")

// MetricHistory reads what was counted. Its error means that nothing is known, or, as [ErrEngineAway], that nothing is of
// any instance.
type MetricHistory interface {
	// Points returns, for each of the metrics, the points of an instance in ascending order. Periods
	// are laid from start, which is rounded down to the minute: the k-th covers start + k·period up to
	// start + (k+1)·period, and its point has that beginning as its Start. A sample belongs to the
	// period in which it begins, and to the points if that is not before start and is before end. So each
	// sample is in one point, and all points together come to the same for every period. Where only sums
	// of hours are left (63 days after the samples), start is rounded down to the hour, and an hour counts
	// as a sample; for periods of more than a day they are laid from the beginning of that day.
	//
	// The period is a multiple of a minute; samples exist only at multiples of [MetricPeriod], so a
	// shorter one yields points only there. What was counted up to now in the sample that is under way is
	// included. An instance or metric that nothing is known of has no points, without error. To ask for
	// several metrics costs little more than for one.
	Points(ctx context.Context, instanceID string, metrics []string, start, end time.Time, period time.Duration) ([][]MetricPoint, error)
}

// FormerHost is a time in which a host had an instance that has been taken away from it.
type FormerHost struct {
	InstanceID, Host string
	// Since is when it got it, and Until when it let go of it; zero: it has neither said that it has nor come anew since,
	// and may go on answering for it.
	Since, Until time.Time
}

// FormerHosts tells of the hosts that had an instance, of all instances if that is empty, as far back as what they counted
// may be told late.
type FormerHosts func(ctx context.Context, instanceID string) ([]FormerHost, error)

// MetricSum is what the samples of one metric of an instance in a time come to.
type MetricSum struct {
	Sum int64
	// Samples are those that there are of that time, and the one before it: whether somebody counted in all of the first
	// one, nothing else tells.
	Samples SampleRuns
	// Damaged says that some of it cannot be read, Partial that of a sample not all is known: Sum is the least that
	// there was then. Samples are without the latter.
	Damaged, Partial bool
}

// SampleRun are samples that follow each other, from the first up to before the one that ends it, by their numbers:
// how many times [MetricPeriod] they begin after the Unix epoch.
type SampleRun struct{ From, Until int64 }

// Since is when the first of them begins.
func (r SampleRun) Since() time.Time { return sampleTime(r.From) }

// End is when the last of them ends.
func (r SampleRun) End() time.Time { return sampleTime(r.Until) }

func sampleTime(number int64) time.Time {
	return time.Unix(number*int64(MetricPeriod/time.Second), 0).UTC()
}

// SampleRuns are samples with gaps between them. Of however many runs there are it tells what one needs to know how much
// of a time was watched: a sample at the end of a gap may have been so for a moment only.
type SampleRuns struct {
	// Runs is how many there are. First and Last are the same one if it is one.
	Runs        int
	First, Last SampleRun
	// Between is how many samples the runs between those two have but for the first and the last of each.
	Between int64
}

// Add adds samples that come after all that were added, or follow them at once.
func (r *SampleRuns) Add(run SampleRun) {
	switch {
	case r.Runs > 0 && r.Last.Until == run.From:
		r.Last.Until = run.Until
	case r.Runs > 1:
		r.Between += max(r.Last.Until-r.Last.From-2, 0)
		fallthrough
	default:
		r.Runs, r.Last = r.Runs+1, run
	}
	if r.Runs == 1 {
		r.First = r.Last
	}
}

// FleetHistory reads what was counted of many instances at once.
type FleetHistory interface {
	// Sums returns, by their ids, the sums of a metric of all instances that have samples which begin at or after
	// start, rounded down to the minute, and before end; and of those that have only the sample before. It tells of the
	// last [FleetKept] only; of a day that is past, what another host tells late may take ten minutes to be seen.
	Sums(ctx context.Context, metric string, start, end time.Time) (map[string]MetricSum, error)
	// FleetPoints returns the points of a metric of all the instances together that one says yes to, by periods that
	// are laid from start as those of [MetricHistory]. It tells of the last [FleetKept] only, and of past days as Sums.
	FleetPoints(ctx context.Context, one func(instanceID string) bool, metric string, start, end time.Time, period time.Duration) ([]FleetPoint, error)
}

// FleetPoint is what the samples of many instances come to in one period. Samples are those of each instance.
type FleetPoint struct {
	Start   time.Time
	Sum     int64
	Samples int
}

// FleetKept is how far back a [FleetHistory] tells: as far as single samples are kept.
const FleetKept = 62 * 24 * time.Hour

// Known is how far it is known what an instance's guest called in a time. Where nothing was counted, none
// of its calls need mean that there were none.
type Known struct {
	// Since and Until are from when until when samples tell of that time; the zero time: there is none. They are equal
	// where a sample is there and nobody can tell how much of it was watched.
	Since, Until time.Time
	// Missing is how much between the two is not known: the instance was stopped, or its host was away. Samples at the
	// ends of such a time are a part of it.
	Missing time.Duration
	// Complete says that all of the time is known, as far as it has come and the instance was there.
	Complete bool
}

// Caller is who used an instance's metadata service, as far as its requests tell.
type Caller struct {
	// Source is the address that the requests came from.
	Source string
	// UserAgent is what the requests called themselves; cut to a bound, never trusted.
	UserAgent string
	// Process is the process of this host that it is; nil: it is none, or the calls are those whose processes were not
	// seen in time.
	Process *CallerProcess
	// PathGroup is the part of the table of categories that was asked for ("meta-data/iam", "user-data").
	PathGroup string
	// Counts of the calls from CountedSince on, by name ([Metrics], [CountNoTokenFailed],
	// [CountWithTokenFailed]); a missing name is zero, and every caller has one that is not.
	Counts map[string]int64
	// CountedSince is when the calls begin that Counts has: when the time begins that was asked for, or
	// earlier by what calls are summed up by (at first five minutes, later hours, days and weeks), or the
	// first call.
	CountedSince        time.Time
	FirstSeen, LastSeen time.Time
	// FirstV1 and LastV1 are the first and the last call without a session token, whatever became of it;
	// the zero time: none.
	FirstV1, LastV1 time.Time
	// Undelivered is the latest answer with a token that did not arrive; nil: none.
	Undelivered *UndeliveredToken
	// Forwarded is the latest call with a token or for one that was refused because it came through a proxy
	// (X-Forwarded-For); the zero time: none.
	Forwarded time.Time
	// Visits and Sittings are when it has come lately, as many of them as are kept: each call a second after the
	// one before, and half an hour after.
	Visits, Sittings []time.Time
}

// V1Calls is how many of a caller's counted calls were without a session token.
func V1Calls(counts map[string]int64) int64 {
	return counts[MetricNoToken] + counts[MetricNoTokenRejected] + counts[CountNoTokenFailed]
}

// UndeliveredToken is an answer with a session token that the caller's side did not acknowledge.
type UndeliveredToken struct {
	Time time.Time
	// HopLimit is what the answer left with.
	HopLimit int
	// NeededHopLimit is the least that reaches the caller, told from the hops that its own packets had
	// made; 0: not known.
	NeededHopLimit int
}

// Refusal is how often an instance's guest was refused for one reason.
type Refusal struct {
	// Reason is one of a few words, such as "host" or "rate".
	Reason string `json:"reason"`
	// Status is what the guest was answered with; 0: its connections were closed without an answer.
	Status int   `json:"status,omitempty"`
	Count  int64 `json:"count"`
}

// RefusedCalls are what was refused to an instance's guest where it is served, since it is.
type RefusedCalls struct {
	// Counter is the id of the count, which is of one process: another one began at zero.
	Counter string `json:"counter"`
	// NoToken is how many calls were refused for want of a token, as [MetricNoTokenRejected] has it. It rises with the
	// refusal itself, and never falls.
	NoToken int64 `json:"noToken"`
	// Refusals are all that were refused, by reason, without zeros.
	Refusals []Refusal `json:"refusals,omitempty"`
}

// CallersKept is how long callers are remembered that are not seen again, as long as CloudWatch keeps samples.
const CallersKept = 63 * 24 * time.Hour

// CallerList reads who called.
type CallerList interface {
	// Callers returns the callers of an instance that were seen at or after since, the latest first, with
	// what they have called from then on; the zero time is the beginning. How many are remembered is
	// bounded. An instance that nobody called has none, without error.
	Callers(ctx context.Context, instanceID string, since time.Time) ([]Caller, error)
}

// FleetCallerList reads who called many instances.
type FleetCallerList interface {
	// CallersWithoutToken returns, by their ids, the callers of the instances that one says yes to and that anybody called
	// without a session token at or after since.
	CallersWithoutToken(ctx context.Context, one func(instanceID string) bool, since time.Time) (map[string]CallersSince, error)
}

// CallersSince are the callers of an instance from some time on, and all that are remembered.
type CallersSince struct{ Since, All []Caller }

// OtherCallers is the source of the one caller that stands for all whom there was no room for.
const OtherCallers = "others"

// RefusalCounter tells what this process has refused to its guests.
type RefusalCounter interface {
	// RefusedCalls answers at once, from memory. known is false for an instance that this process does not serve.
	RefusedCalls(instanceID string) (calls RefusedCalls, known bool)
}

// The status checks of Lightsail: of a host, of a guest, of either.
const (
	MetricSystemCheck   = "StatusCheckFailed_System"
	MetricInstanceCheck = "StatusCheckFailed_Instance"
	MetricCheck         = "StatusCheckFailed"
)

// Metric is a metric's name with what Lightsail says of it.
type Metric struct {
	Name      string
	Unit      string
	Statistic string // of its alarms
	// Counted metrics have a history here, Checked ones a present value. Lightsail's others are known by name
	// and are not measured.
	Counted, Checked bool
	// Alarms says whether alarms may watch it. Lightsail's can watch no metadata metric.
	Alarms bool
}

// FindMetric returns the metric of that name.
func FindMetric(name string) (Metric, bool) {
	return search([]Metric{
		{Name: MetricNoToken, Unit: "Count", Statistic: "Sum", Counted: true, Alarms: true},
		{Name: MetricNoTokenRejected, Unit: "Count", Statistic: "Sum", Counted: true, Alarms: true},
		{Name: MetricTokenRequests, Unit: "Count", Statistic: "Sum", Counted: true},
		{Name: MetricWithToken, Unit: "Count", Statistic: "Sum", Counted: true},
		{Name: MetricTokenUndelivered, Unit: "Count", Statistic: "Sum", Counted: true},
		{Name: MetricWouldBeRefused, Unit: "Count", Statistic: "Sum", Counted: true},
		{Name: "CPUUtilization", Unit: "Percent", Statistic: "Average", Alarms: true},
		{Name: "NetworkIn", Unit: "Bytes", Statistic: "Sum", Alarms: true},
		{Name: "NetworkOut", Unit: "Bytes", Statistic: "Sum", Alarms: true},
		{Name: MetricCheck, Unit: "Count", Statistic: "Sum", Checked: true, Alarms: true},
		{Name: MetricInstanceCheck, Unit: "Count", Statistic: "Sum", Checked: true, Alarms: true},
		{Name: MetricSystemCheck, Unit: "Count", Statistic: "Sum", Checked: true, Alarms: true},
		{Name: "BurstCapacityTime", Unit: "Seconds", Statistic: "Average", Alarms: true},
		{Name: "BurstCapacityPercentage", Unit: "Percent", Statistic: "Average", Alarms: true},
		{Name: "DiskReadOps", Unit: "Count", Statistic: "Sum"},
		{Name: "DiskWriteOps", Unit: "Count", Statistic: "Sum"},
		{Name: "DiskReadBytes", Unit: "Bytes", Statistic: "Sum"},
		{Name: "DiskWriteBytes", Unit: "Bytes", Statistic: "Sum"},
		{Name: "DiskTotalReadTime", Unit: "Seconds", Statistic: "Sum"},
		{Name: "DiskTotalWriteTime", Unit: "Seconds", Statistic: "Sum"},
		{Name: "DiskQueueLength", Unit: "Count", Statistic: "Average"},
	}, func(m Metric) bool { return m.Name == name })
}
