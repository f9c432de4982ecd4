package cloudwatch

import (
	"context"

	"github.com/openimds/openimds"
)

// instance returns the one of that id; nil: there is none, or not any more.
func (a *protocol) instance(ctx context.Context, id string) (*openimds.Instance, error) {
	in, err := a.service.InstanceOfID(ctx, id)
	switch {
	case err == nil && in.State == openimds.StateTerminated:
		return nil, nil //nolint:nilnil // as said
	case err != nil && (openimds.KindOf(err) == openimds.NotFound || openimds.CodeOf(err) == openimds.Malformed):
		return nil, nil //nolint:nilnil // the same
	}
	return in, err
}
