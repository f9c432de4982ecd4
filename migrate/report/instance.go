package report

import (
	"context"
	"fmt"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/migrate"
)

// instance writes down what is known of one.
func (in Input) instance(ctx context.Context, a migrate.Assessment) Instance {
	r := Instance{
		Region: a.Region, Name: a.Name, ID: a.ID, State: a.State, Blueprint: a.Blueprint, CreatedAt: a.CreatedAt.UTC(), Options: a.Options, Pending: a.Pending,
		Verdict: a.Verdict, Reason: a.Reason, Calls: Calls{V1: a.NoToken, Rejected: a.Rejected},
	}
	unknown := func(is bool, what string) {
		if is {
			r.Unknown = append(r.Unknown, what)
		}
	}
	if a.Since.IsZero() {
		unknown(true, "its calls: nothing was counted in the window")
	} else {
		r.Window = &Window{Since: a.Since.UTC(), Until: earlier(a.Until, in.Now).UTC(), MissingSeconds: int64(a.Missing / time.Second), Cycles: a.Cycles}
		from := in.Now.Add(-in.Criteria.Window)
		unknown(a.Since.After(from.Add(time.Hour)) && a.CreatedAt.Before(from), fmt.Sprintf("its calls from %s to %s", stamp(from), stamp(a.Since)))
		unknown(a.Missing > 0, fmt.Sprintf("its calls in %v of the window, when it was stopped or its host was away", openimds.Brief(a.Missing)))
		unknown(a.Cycles.Boots < 0, "how often it was started in the window")
	}
	r.details(ctx, in, a)
	if a.Since.IsZero() && len(r.Callers) == 0 {
		r.Callers, r.V2Callers = nil, nil // none was seen, where nobody looked
	}
	unknown(r.Calls.V1 != nil && r.Calls.Rejected == nil, "how many calls were refused")
	unknown(r.Calls.V2 == nil, "how many calls came with a token")
	unknown(r.Callers == nil, "who called")
	unknown(r.History == nil, "how its options were changed")
	unknown(r.History != nil && !r.History.Complete, "how its options were changed before the log of changes begins")
	return r
}

// details asks whoever can tell more.
func (r *Instance) details(ctx context.Context, in Input, a migrate.Assessment) {
	if in.Source == nil {
		return
	}
	d, err := in.Source.Details(ctx, a.Instance, in.Now.Add(-in.Criteria.Window), in.Now)
	if err != nil {
		r.Unknown = append(r.Unknown, "all that the service did not tell: "+err.Error())
	}
	r.Callers, r.V2Callers, r.History, r.Rehearsal = d.Callers, d.V2Callers, d.History, d.Rehearsal
	r.Calls.V2, r.Calls.WouldBeRefused, r.Calls.TokensLost = d.V2, d.WouldBeRefused, d.TokensLost
}

// earlier is the first of two times: the latest sample ends after now.
func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b.Truncate(time.Second)
	}
	return a
}

// stamp is a time as people read it here.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
