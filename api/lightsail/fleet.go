package lightsail

import (
	"context"
	"strconv"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/control"
)

const (
	// fleetTime is how far back it is looked unless it is said.
	fleetTime = 24 * time.Hour
	// searchPage is how many instances a page of a search has unless it is said.
	searchPage = 50
)

// fleetSince is when the time begins that is asked for.
func (a *protocol) fleetSince(asked *awsjson.Epoch) time.Time {
	if asked == nil {
		return a.cfg.Now().Add(-fleetTime)
	}
	return asked.Time
}

func (a *protocol) searchInstances(ctx context.Context, in *wire.SearchInstancesRequest) (wire.SearchInstancesResult, error) {
	result := wire.SearchInstancesResult{Instances: []wire.FoundInstance{}}
	q := control.InstanceSearch{
		Query: in.Query, Filter: string(in.MetadataFilter), SortBy: string(in.SortBy), Descending: in.Descending,
		Since: a.fleetSince(in.Since), PageSize: searchPage, Page: 1,
	}
	if in.PageSize != nil {
		q.PageSize = *in.PageSize
	}
	// A page is a number, which leads elsewhere where pages are of another size.
	list := a.list("SearchInstances", in.Query, in.MetadataFilter, in.SortBy, in.Descending, in.Since.OrZero(), strconv.Itoa(q.PageSize))
	switch place, err := api.PagePlace(list, in.PageToken); {
	case err != nil:
		return result, err
	case place != "" && in.Page != nil:
		return result, openimds.Errorf(openimds.InvalidInput, openimds.Conflicting, "A page has a number or a token, not both")
	case place != "":
		q.Page, _ = strconv.Atoi(place)
	case in.Page != nil:
		q.Page = *in.Page
	}
	found, total, err := a.service.SearchInstances(ctx, q)
	if err != nil {
		return result, err
	}
	result.Total, result.Pages = total, (total+q.PageSize-1)/q.PageSize
	if q.Page < result.Pages {
		result.NextPageToken = api.PageToken(list, strconv.Itoa(q.Page+1))
	}
	for i := range found {
		result.Instances = append(result.Instances, showFound(&found[i]))
	}
	return result, nil
}

func showFound(f *control.FoundInstance) wire.FoundInstance {
	shown := wire.FoundInstance{
		Name: f.Name, State: string(f.State), Zone: f.Zone, BlueprintID: f.BlueprintID, BundleID: f.BundleID,
		CreatedAt: awsjson.Epoch{Time: f.CreatedAt}, MetadataOptions: shownOptions(f.Options), Attached: f.Attached,
		UnknownSeconds: int(f.Unknown / time.Second), Tags: showTags(f.Tags),
	}
	if f.PrivateIP.IsValid() {
		shown.PrivateIPAddress = f.PrivateIP.String()
	}
	if f.NoTokenKnown() {
		shown.NoToken = &f.NoToken
	}
	return shown
}

func (a *protocol) getFleet(ctx context.Context, in *wire.GetFleetRequest) (wire.GetFleetResult, error) {
	f, err := a.service.Fleet(ctx, a.fleetSince(in.Since))
	if err != nil {
		return wire.GetFleetResult{}, err
	}
	result := wire.GetFleetResult{
		Instances: f.Instances, Optional: f.Access[control.AccessV1AndV2], Required: f.Access[control.AccessV2Only], Disabled: f.Access[control.AccessDisabled],
		Pending: f.Pending, States: map[string]int{}, Attachments: f.Attachments, Unheard: f.Unheard,
		NoToken: wire.FleetNoToken{UnknownInstances: f.Unknown},
	}
	for state, n := range f.States {
		result.States[string(state)] = n
	}
	if f.NoToken > 0 || f.Unknown == 0 {
		result.NoToken.Sum = &f.NoToken
	}
	return result, nil
}
