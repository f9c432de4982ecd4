package lightsail

import (
	"context"

	"github.com/openimds/openimds"
)

// tag is a tag in requests and answers; the service has the rules of keys and values.
type tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func showTags(tags []openimds.Tag) []tag {
	shown := make([]tag, 0, len(tags))
	for _, t := range tags {
		shown = append(shown, tag(t))
	}
	return shown
}

func readTags(tags []tag) []openimds.Tag {
	var read []openimds.Tag
	for _, t := range tags {
		read = append(read, openimds.Tag(t))
	}
	return read
}

type tagResourceRequest struct {
	ResourceName string `json:"resourceName" check:"required"`
	ResourceARN  arn    `json:"resourceArn"`
	Tags         []tag  `json:"tags" check:"required"`
}

func (a *api) tagResource(ctx context.Context, in *tagResourceRequest) (operationsResult, error) {
	return a.many(a.service.TagResource(ctx, in.ResourceName, string(in.ResourceARN), readTags(in.Tags)))
}

type untagResourceRequest struct {
	ResourceName string   `json:"resourceName" check:"required"`
	ResourceARN  arn      `json:"resourceArn"`
	TagKeys      []string `json:"tagKeys" check:"required"`
}

func (a *api) untagResource(ctx context.Context, in *untagResourceRequest) (operationsResult, error) {
	return a.many(a.service.UntagResource(ctx, in.ResourceName, string(in.ResourceARN), in.TagKeys))
}

type getActiveNamesResult struct {
	ActiveNames   []string `json:"activeNames"`
	NextPageToken string   `json:"nextPageToken,omitempty"`
}

func (a *api) getActiveNames(ctx context.Context, in *pageRequest) (getActiveNamesResult, error) {
	const list = "GetActiveNames"
	after, err := pagePlace(list, in.PageToken)
	if err != nil {
		return getActiveNamesResult{}, err
	}
	names, next, err := a.service.Names(ctx, after, pageSize)
	return getActiveNamesResult{append([]string{}, names...), pageToken(list, next)}, err
}
