package lightsail

import (
	"context"
	"fmt"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/lightsail/wire"
)

// auditPage is how many entries a page has unless it is said.
const auditPage = 50

func (a *protocol) getAuditEntries(ctx context.Context, in *wire.GetAuditEntriesRequest) (wire.GetAuditEntriesResult, error) {
	list := a.list("GetAuditEntries", in.Resource, in.Who, in.What, in.Failed, in.Since.OrZero())
	result := wire.GetAuditEntriesResult{Entries: []wire.AuditEntry{}, Incomplete: []string{}}
	place, err := api.PagePlace(list, in.PageToken)
	if err != nil {
		return result, err
	}
	q := openimds.AuditQuery{Resource: in.Resource, Who: in.Who, What: in.What, Failed: in.Failed, Since: in.Since.OrZero(), Place: place, Most: auditPage}
	if in.PageSize != nil {
		q.Most = *in.PageSize
	}
	page, host, err := a.service.AuditEntries(ctx, q)
	if err != nil {
		return result, err
	}
	for _, e := range page.Entries {
		result.Entries = append(result.Entries, wire.AuditEntry{AuditEntry: e, Changed: e.Changed()})
	}
	result.Server, result.KnownSince, result.NextPageToken = host, unlessZero(page.Begins), api.PageToken(list, page.Next)
	if page.Rotated {
		result.Incomplete = append(result.Incomplete, "The log was rotated away meanwhile: what came before stands where it was moved to, for \"openimds audit --file\"")
	}
	switch {
	case page.Damaged == 1:
		result.Incomplete = append(result.Incomplete, "1 line of the log cannot be read")
	case page.Damaged > 1:
		result.Incomplete = append(result.Incomplete, fmt.Sprintf("%d lines of the log cannot be read", page.Damaged))
	}
	return result, nil
}

// always says of any request that it shows what a key that only looks may not see.
func always([]byte) bool { return true }
