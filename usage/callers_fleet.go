package usage

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// callersPage is how many records of callers are read in one go.
const callersPage = 1000

// CallersWithoutToken implements [openimds.FleetCallerList]. A record that cannot be read is an error: whom it tells of
// would be overlooked.
func (r *Meter) CallersWithoutToken(ctx context.Context, one func(instanceID string) bool, since time.Time) (map[string]openimds.CallersSince, error) {
	all := map[string][]callerRecord{}
	mine := map[string]bool{} // the keys of which memory knows more
	for _, g := range r.all() {
		if !one(g.id) {
			continue
		}
		if err := r.know(ctx, g); err != nil {
			return nil, err
		}
		g.mu.Lock()
		mine[g.callers.key] = true
		if records := g.callers.records(); len(records) > 0 {
			all[g.id] = records
		}
		g.mu.Unlock()
	}
	for next := (store.Range{Prefix: callersPrefix, Limit: callersPage}); ; {
		page, err := r.cfg.Store.List(ctx, next)
		if err != nil {
			return nil, err
		}
		for _, record := range page.Records {
			next.After = record.Key
			id, _, _ := strings.Cut(strings.TrimPrefix(record.Key, callersPrefix), "/")
			if mine[record.Key] || !one(id) {
				continue
			}
			stored, err := decodeCallers(record)
			if err != nil {
				return nil, err
			}
			all[id] = append(all[id], stored...)
		}
		if !page.More {
			break
		}
	}
	found := map[string]openimds.CallersSince{}
	for id, records := range all {
		if slices.ContainsFunc(records, func(c callerRecord) bool { return c.LastV1 > 0 && c.LastV1 >= since.UnixNano() }) {
			found[id] = openimds.CallersSince{Since: callersSince(records, since), All: callersSince(records, time.Time{})}
		}
	}
	return found, nil
}
