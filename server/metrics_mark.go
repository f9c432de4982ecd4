package server

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/usage/history"
)

// markEvery is how often it is looked how far the engine of metrics has been told.
const markEvery = 5 * time.Second

// metricsMark tells those who share a store from which sample on this server may have counted more than the engine of
// metrics has. Whoever is cut off, or was killed and does not come back, leaves it there.
type metricsMark struct {
	store  store.Store
	host   string
	before func() int64 // how far the engine has been told

	mu    sync.Mutex
	value []byte // the store's; nil: that is not known
	ended bool
}

// set has it say how far that is.
func (m *metricsMark) set(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	value := history.Mark(m.before(), time.Now())
	if m.ended || bytes.Equal(value, m.value) {
		return nil
	}
	m.value = nil
	if err := m.commit(ctx, store.Change{Verb: store.Put, Value: value}); err != nil {
		return err
	}
	m.value = value
	return nil
}

func (m *metricsMark) commit(ctx context.Context, change store.Change) error {
	change.Key, change.If = history.EngineMarkKey(m.host), store.Whatever
	_, err := m.store.Commit(ctx, change)
	return err
}

// run keeps it as it is to be until the context ends, from the first moment on. While the store is away it is as it was,
// which is no further.
func (m *metricsMark) run(ctx context.Context) {
	tick := time.NewTicker(markEvery)
	defer tick.Stop()
	for {
		_ = m.set(ctx) // else at the next tick; that the store is away is told elsewhere
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// end says that all has been told, and that no more is counted.
func (m *metricsMark) end(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
	return m.commit(ctx, store.Change{Verb: store.Delete})
}
