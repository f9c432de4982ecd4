package records

import (
	"context"
	"strings"

	"github.com/openimds/openimds/store"
)

// FurtherRegions are the names of those with records behind their name in the store of all regions, in their order: also
// of those that no server has now. It reads one key of each.
func FurtherRegions(ctx context.Context, whole store.Store) (all []string, err error) {
	for after := ""; ; {
		page, err := whole.List(ctx, store.Range{Prefix: RegionPrefix, After: after, Limit: 1, KeysOnly: true})
		if err != nil || len(page.Records) == 0 {
			return all, err
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(page.Records[0].Key, RegionPrefix), "/")
		all = append(all, name)
		after = RegionKey(name) + "\xff" // behind all of this region
	}
}
