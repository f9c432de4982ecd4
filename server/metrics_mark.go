package server

import (
	"bytes"
	"context"
	"time"

	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/usage/history"
)

// markEvery is how often it is looked how far the engine of metrics has been told.
const markEvery = 5 * time.Second

// metricsMark tells those who share a store from which sample on this server may have counted more than the engine of
// metrics has. Whoever is cut off, or was killed and does not come back, leaves it there.
type metricsMark struct {
	store store.Store
	host  string
	value []byte // the store's; nil: that is not known
}

// markedAs names a server among the marks beside an engine. By its own name alone it has the mark of a history that is in the
// shared store itself.
func markedAs(host string) string { return host + "~engine" }

// set has the mark say that all samples before that one have been told.
func (m *metricsMark) set(ctx context.Context, before int64) error {
	value := history.Mark(before, time.Now())
	if bytes.Equal(value, m.value) {
		return nil
	}
	m.value = nil
	if _, err := m.store.Commit(ctx, store.Change{Verb: store.Put, Key: history.MarkKey(m.host), Value: value, If: store.Whatever}); err != nil {
		return err
	}
	m.value = value
	return nil
}

// run keeps it as it is to be until the context ends. While the store is away it is as it was, which is no further.
func (m *metricsMark) run(ctx context.Context, before func() int64) {
	tick := time.NewTicker(markEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = m.set(ctx, before())
		}
	}
}

// end says that all has been told, and that no more is counted.
func (m *metricsMark) end(ctx context.Context) error {
	_, err := m.store.Commit(ctx, store.Change{Verb: store.Delete, Key: history.MarkKey(m.host), If: store.Whatever})
	return err
}
