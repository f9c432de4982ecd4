package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/openimds/openimds/api/front"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/usage"
	"github.com/openimds/openimds/usage/engine"
	"github.com/openimds/openimds/usage/history"
	"github.com/openimds/openimds/usage/prom"
)

// scrapers is how many connections there may be at once to read an agent's metrics.
const scrapers = 16

// lookEvery is how often it is looked whether the replicas ask an engine of metrics.
const lookEvery = 5 * time.Second

// checkPrometheus refuses an address at which others than those of this machine could read the metrics: they name
// instances, and nobody signs for them.
func (c *AgentConfig) checkPrometheus() error {
	if c.Prometheus == "" {
		return nil
	}
	shared := c.config()
	host, _, err := net.SplitHostPort(c.Prometheus)
	if err != nil {
		return invalid("%s %q is not of the form host:port", shared.named("Prometheus"), c.Prometheus)
	}
	if addr := net.ParseIP(host); addr == nil || !addr.IsLoopback() {
		return invalid("%s %q is not of a loopback address, such as 127.0.0.1:9105: whoever reached it could read what this host counts", shared.named("Prometheus"), c.Prometheus)
	}
	return nil
}

// openMetrics makes the history of what is counted here, which an engine of metrics is told.
func (a *Agent) openMetrics(ctx context.Context) (*history.History, error) {
	settings := history.Config{Store: a.counts, Host: a.countsName}
	var err error
	if a.cfg.MetricsWrite == "" {
		a.toldBefore, _, err = engine.Told(ctx, a.counts)
		return history.New(settings), err
	}
	access := a.cfg.metricsAccess()
	if err := access.Check(); err != nil {
		return nil, err
	}
	a.told, err = engine.OpenWriter(ctx, engine.WriterConfig{URL: a.cfg.MetricsWrite, Access: access, Store: a.counts, Host: a.cfg.Host, Log: a.log})
	if err != nil {
		return nil, err
	}
	settings.Name, settings.Kept = a.told.Name(), a.told.Kept
	h := history.New(settings)
	a.told.From(h)
	return h, nil
}

// engineMark is the value of this host's mark while the replicas ask an engine of metrics. Of what a host counts that tells
// it no more nothing is known since.
func (a *Agent) engineMark() []byte {
	if a.told == nil {
		return history.Mark(a.toldBefore, time.Now())
	}
	return history.Mark(a.told.Before(), time.Now())
}

// carrier makes what carries counts to the replicas.
func (a *Agent) carrier() *hostlink.Counts {
	return hostlink.NewCounts(hostlink.Counts{
		Store: a.counts, Client: a.client, Host: a.countsName, Samples: history.SamplePrefix, Callers: usage.CallersPrefix,
		Mark: history.MarkKey(a.countsName), About: a.copy.About, Log: a.log,
		Tells: a.told != nil, EngineMark: history.EngineMarkKey(a.countsName), Untold: a.engineMark,
	})
}

// tellMetrics tells the engine of the metrics what is counted here, until the context ends: once the replicas ask it, and
// have none of that any more.
func (a *Agent) tellMetrics(ctx context.Context, counts *hostlink.Counts) {
	if a.told == nil {
		a.warnUntold(ctx)
		return
	}
	select {
	case <-counts.TakenBack():
	case <-ctx.Done():
		return
	}
	about, _ := a.copy.About()
	a.told.Label(about.Installation)
	a.labelled.Store(true)
	a.told.Run(ctx)
}

// warnUntold says, once, that the replicas ask an engine which this host does not tell.
func (a *Agent) warnUntold(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if about, _ := a.copy.About(); about.Installation != "" {
			a.log.Warn("the replicas ask an engine of metrics for what hosts count, and this host tells it nothing: that is unknown to them. Start it with " + a.cfg.named("MetricsWrite"))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// listenPrometheus takes the address at which the metrics are to be read.
func (a *Agent) listenPrometheus(ctx context.Context) (err error) {
	if a.prometheus == "" {
		return nil
	}
	if a.scraped, err = new(net.ListenConfig).Listen(ctx, "tcp", a.prometheus); err != nil {
		return cannotListen(a.cfg.named("Prometheus"), a.prometheus, err)
	}
	return nil
}

// PrometheusAddr is where the metrics of this host can be read; nil: nowhere.
func (a *Agent) PrometheusAddr() net.Addr {
	if a.scraped == nil {
		return nil
	}
	return a.scraped.Addr()
}

// servePrometheus answers there until [Agent.Close].
func (a *Agent) servePrometheus(ctx context.Context, failed context.CancelCauseFunc) {
	if a.scraped == nil {
		return
	}
	gauges := prom.Gauges{
		StoreTakes: func() bool { return errors.Join(a.kept.Health(), a.counts.Health()) == nil },
		Credentials: func(yield func(source, state string, sets int)) {
			for held, n := range a.sources.Held() {
				yield(held.Source, held.State, n)
			}
		},
		Attachments: a.attachmentStates,
	}
	if a.told != nil {
		gauges.Written = func() (time.Time, uint64) { return a.told.Through(), a.told.Refused() }
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", prom.Handler(a.usage, gauges))
	server := front.New(front.Config{Handler: mux, Connections: scrapers, Log: a.log})
	defer context.AfterFunc(ctx, func() {
		ended, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer done()
		_ = server.Shutdown(ended)
	})()
	if err := server.Serve(a.scraped); !errors.Is(err, http.ErrServerClosed) {
		failed(fmt.Errorf("the metrics on %s cannot be served any more: %w", a.scraped.Addr(), err))
	}
}
