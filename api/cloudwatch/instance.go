package cloudwatch

import (
	"context"

	"github.com/openimds/openimds"
)

// instance returns the one of that id; nil: there is none.
func (a *protocol) instance(ctx context.Context, id string) (*openimds.Instance, error) {
	for after := ""; ; {
		page, next, err := a.service.Instances(ctx, after, 1000)
		if err != nil {
			return nil, err
		}
		for _, one := range page {
			if one.ID == id {
				return one, nil
			}
		}
		if after = next; next == "" {
			return nil, nil //nolint:nilnil // as said
		}
	}
}
