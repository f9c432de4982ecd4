package server

import (
	"context"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/refusals"
	"github.com/openimds/openimds/usage"
)

// tellReplica has refused calls told to a replica.
func (a *Agent) tellReplica(r *regional) func(context.Context, []records.Refused) error {
	callers := func(instanceID string) string { return usage.CallersKey(instanceID, a.countsName) }
	return func(ctx context.Context, all []records.Refused) error {
		return a.links[r.region].TellRefused(ctx, a.counts, callers, all)
	}
}

// tellRefusals tells whoever waits for them of the calls that this host refuses to the guests of a region. keep is told after
// it is stored who called.
func (s *hosting) tellRefusals(ctx context.Context, r *regional, keep func(context.Context, []records.Refused) error) {
	refusals.NewTeller(refusals.TellerConfig{
		Store: r.kept, Counter: s.usage, Log: s.log,
		Tell: func(ctx context.Context, all []records.Refused) error {
			ids := make([]string, len(all))
			for i, one := range all {
				ids[i] = one.InstanceID
			}
			_ = s.usage.KeepCallers(ctx, ids...) // that calls were refused is told all the same; the log hears of it by the next flush
			return keep(ctx, all)
		},
	}).Run(ctx)
}
