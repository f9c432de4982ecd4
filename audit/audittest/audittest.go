// Package audittest is an audit log for the tests of those who tell it.
package audittest

import (
	"context"
	"sync"

	"github.com/openimds/openimds"
)

// Log is an audit log in memory; the zero one is empty. It is safe for use by many goroutines.
type Log struct {
	mu  sync.Mutex
	all []openimds.AuditEntry
}

// Tell takes what was changed, and what was refused.
func (l *Log) Tell(_ context.Context, more ...openimds.AuditEntry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, more...)
	return nil
}

// Take returns what was told since the last time.
func (l *Log) Take() []openimds.AuditEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}
