// Package alarms has the alarms of an installation evaluated when their periods end, and tells of
// the states that change: in the log, and to a webhook.
//
// The rules are [control.Service]'s. What changes a state does not matter here: changes are seen in
// the store, so that a tested alarm is told like one that was evaluated, be it on another host.
package alarms

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// settle is how long after the end of a period it is evaluated: all hosts have stored their counts by then, and an engine of metrics
// has been told them, or says that it was not.
const settle = 30 * time.Second

// Config is what [Alarms] work with.
type Config struct {
	Service *control.Service
	Store   store.Store
	// Turn waits until this process is the one of all that share the store that evaluates; its error is the
	// context's. Nil: it is.
	Turn func(context.Context) error
	// Webhook is the URL that changes are posted to as JSON ([Notice]); empty: nowhere. It may hold
	// a secret, so it shows in no log and no error.
	Webhook string
	// Shared says that other processes share the store: one of those that have a webhook posts each change.
	Shared bool
	Log    *slog.Logger
}

// Alarms evaluates the alarms of an installation and tells of their changes.
type Alarms struct {
	cfg     Config
	webhook *webhook // nil: none
	// known are the states that were seen last, by key; only Run's goroutine uses them.
	known map[string]seen
	// next is the first time after another one at which alarms are evaluated.
	next func(time.Time) time.Time
	// ready is closed when the states before the first evaluation are known; started says the same
	// to that goroutine.
	ready   chan struct{}
	started bool
}

// seen is an alarm's state; the UUID tells it from a later alarm of its name.
type seen struct {
	uuid  string
	state openimds.AlarmState
}

// New refuses a webhook that cannot be one.
func New(cfg Config) (*Alarms, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a := &Alarms{cfg: cfg, known: map[string]seen{}, next: next, ready: make(chan struct{})}
	if cfg.Webhook != "" {
		var err error
		if a.webhook, err = newWebhook(cfg.Webhook, cfg.Log); err != nil {
			return nil, err
		}
		if cfg.Shared {
			a.webhook.once = &once{store: cfg.Store, look: time.Second}
		}
	}
	return a, nil
}

// Run evaluates and tells until the context ends.
func (a *Alarms) Run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { a.evaluate(ctx) })
	if a.webhook != nil {
		running.Go(func() { a.webhook.run(ctx) })
	}
	store.Follow(ctx, a.cfg.Store, store.Follower{
		Prefix: records.AlarmPrefix,
		Listed: a.listed,
		Changed: func(_ context.Context, changes []store.Record) error {
			for _, e := range changes {
				a.see(e)
			}
			return nil
		},
		Log:  a.cfg.Log,
		Away: "alarms cannot be followed; trying again",
	})
}

// evaluate has the alarms evaluated now and after the end of each period.
func (a *Alarms) evaluate(ctx context.Context) {
	select {
	case <-a.ready:
	case <-ctx.Done():
	}
	for ctx.Err() == nil {
		if a.cfg.Turn != nil && a.cfg.Turn(ctx) != nil {
			return
		}
		if _, err := a.cfg.Service.EvaluateAlarms(ctx); err != nil && ctx.Err() == nil {
			a.cfg.Log.Warn("some alarms could not be evaluated; trying again in the next period", "error", err)
		}
		wait(ctx, time.Until(a.next(time.Now())))
	}
}

// next is the first time after now at which alarms are evaluated.
func next(now time.Time) time.Time {
	return now.Add(-settle).Truncate(openimds.AlarmPeriod).Add(openimds.AlarmPeriod + settle)
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// listed tells of what changed while the store could not be followed.
func (a *Alarms) listed(_ context.Context, page store.Page) error {
	there := map[string]bool{}
	for _, r := range page.Records {
		there[r.Key] = true
		a.see(r)
	}
	for key := range a.known {
		if !there[key] {
			delete(a.known, key)
		}
	}
	if !a.started {
		a.started = true
		close(a.ready)
	}
	return nil
}

// see looks at an alarm and tells if its state is another than before. What is found at the start
// has not changed; a later alarm began with insufficient data.
func (a *Alarms) see(e store.Record) {
	if e.Value == nil {
		delete(a.known, e.Key)
		return
	}
	alarm, err := records.DecodeAlarm(e)
	if err != nil {
		a.cfg.Log.Error("an alarm cannot be read", "error", err)
		return
	}
	before := openimds.AlarmInsufficient
	if was, ok := a.known[e.Key]; ok && was.uuid == alarm.UUID {
		before = was.state
	} else if !a.started {
		before = alarm.State
	}
	a.known[e.Key] = seen{uuid: alarm.UUID, state: alarm.State}
	if before != alarm.State {
		a.tell(alarm, before, e.Revision)
	}
}

func (a *Alarms) tell(alarm *openimds.Alarm, before openimds.AlarmState, revision int64) {
	a.cfg.Log.Info("an alarm changed", "alarm", alarm.Name, "instance", alarm.Instance, "metric", alarm.Metric, "from", before, "to", alarm.State)
	if a.webhook != nil && alarm.Notifies() {
		a.webhook.post(queued{revision: revision, Notice: Notice{
			Alarm: alarm.Name, ARN: a.cfg.Service.ARN(openimds.TypeAlarm, alarm.UUID), Instance: alarm.Instance,
			Metric: alarm.Metric, Comparison: alarm.Comparison, Threshold: alarm.Threshold,
			Periods: alarm.Periods, Datapoints: alarm.Datapoints,
			State: alarm.State, Before: before, ChangedAt: alarm.StateChangedAt,
		}})
	}
}
