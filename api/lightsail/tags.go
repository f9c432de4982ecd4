package lightsail

import (
	"context"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/lightsail/wire"
)

func showTags(tags []openimds.Tag) []wire.Tag {
	shown := make([]wire.Tag, 0, len(tags))
	for _, t := range tags {
		shown = append(shown, wire.Tag(t))
	}
	return shown
}

func readTags(tags []wire.Tag) []openimds.Tag {
	var read []openimds.Tag
	for _, t := range tags {
		read = append(read, openimds.Tag(t))
	}
	return read
}

func (a *protocol) tagResource(ctx context.Context, in *wire.TagResourceRequest) (wire.OperationsResult, error) {
	return a.many(a.service.TagResource(ctx, in.ResourceName, string(in.ResourceARN), readTags(in.Tags)))
}

func (a *protocol) untagResource(ctx context.Context, in *wire.UntagResourceRequest) (wire.OperationsResult, error) {
	return a.many(a.service.UntagResource(ctx, in.ResourceName, string(in.ResourceARN), in.TagKeys))
}

func (a *protocol) getActiveNames(ctx context.Context, in *wire.PageRequest) (wire.GetActiveNamesResult, error) {
	list := a.list("GetActiveNames")
	after, err := api.PagePlace(list, in.PageToken)
	if err != nil {
		return wire.GetActiveNamesResult{}, err
	}
	names, next, err := a.service.Names(ctx, after, pageSize)
	return wire.GetActiveNamesResult{ActiveNames: append([]string{}, names...), NextPageToken: api.PageToken(list, next)}, err
}
