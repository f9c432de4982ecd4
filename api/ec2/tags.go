package ec2

import (
	"context"
	"regexp"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/ec2/wire"
	"github.com/openimds/openimds/control"
)

// ofTags tells what tags have of a filter.
func ofTags(tags []openimds.Tag, filter string) (values []string, known bool) {
	switch key, ofKey := strings.CutPrefix(filter, "tag:"); {
	case ofKey:
		for _, t := range tags {
			if t.Key == key {
				values = append(values, t.Value)
			}
		}
	case filter == "tag-key":
		for _, t := range tags {
			values = append(values, t.Key)
		}
	case filter == "tag-value":
		for _, t := range tags {
			values = append(values, t.Value)
		}
	default:
		return nil, false
	}
	return values, true
}

// keyPairID is the id that EC2 knows a key pair by, made of its UUID.
func keyPairID(pair *openimds.KeyPair) string {
	digits := strings.ReplaceAll(pair.UUID, "-", "")
	return "key-" + digits[:17]
}

var keyPairIDForm = regexp.MustCompile(`^key-[0-9a-f]{17}$`)

// resources finds out whose the ids are: those of instances stay what they are, key pairs are called by their names.
func (c *call) resources(ctx context.Context, ids []string) ([]string, error) {
	var pairs map[string]string
	found := make([]string, 0, len(ids))
	for _, id := range ids {
		switch {
		case idForm.MatchString(id):
			found = append(found, id)
			continue
		case !keyPairIDForm.MatchString(id):
			return nil, invalid("InvalidID", "The ID '%.100s' is not valid", id)
		case pairs == nil:
			pairs = map[string]string{}
			all, err := c.allKeyPairs(ctx)
			if err != nil {
				return nil, err
			}
			for _, pair := range all {
				pairs[keyPairID(pair)] = pair.Name
			}
		}
		name, ok := pairs[id]
		if !ok {
			return nil, invalid("InvalidKeyPair.NotFound", "The key pair '%s' does not exist", id)
		}
		found = append(found, control.KeyPairRef(name))
	}
	return found, nil
}

func (c *call) createTags(ctx context.Context, in *wire.CreateTagsRequest) (wire.Done, error) {
	resources, err := c.resources(ctx, in.ResourceIDs)
	if err != nil {
		return wire.Done{}, err
	}
	return done(c.service.TagResources(ctx, resources, readTags(in.Tags)))
}

func (c *call) deleteTags(ctx context.Context, in *wire.DeleteTagsRequest) (wire.Done, error) {
	resources, err := c.resources(ctx, in.ResourceIDs)
	if err != nil {
		return wire.Done{}, err
	}
	matches := make([]control.TagMatch, 0, len(in.Tags))
	for _, t := range in.Tags {
		matches = append(matches, control.TagMatch{Key: t.Key, Value: t.Value})
	}
	return done(c.service.UntagResources(ctx, resources, matches))
}

func readTags(asked []wire.TagRequest) []openimds.Tag {
	var tags []openimds.Tag
	for _, t := range asked {
		tags = append(tags, openimds.Tag{Key: t.Key, Value: t.Value})
	}
	return tags
}

// tagsFor reads the tags of the one type of resource that a request makes.
func tagsFor(resource string, specifications []wire.TagSpecification) ([]openimds.Tag, error) {
	var tags []openimds.Tag
	for _, s := range specifications {
		if s.ResourceType != resource {
			return nil, invalid("InvalidParameterValue", "'%.100s' is not a valid taggable resource type for this operation", s.ResourceType)
		}
		tags = append(tags, readTags(s.Tags)...)
	}
	return tags, nil
}

// tagFilters tells what a resource's tag has of a filter.
func tagFilters(t *wire.ResourceTag, filter string) ([]string, bool) {
	if t == nil {
		t = &wire.ResourceTag{}
	}
	switch filter {
	case "key":
		return one(t.Key), true
	case "value":
		return []string{t.Value}, true
	case "resource-id":
		return one(t.ResourceID), true
	case "resource-type":
		return one(t.ResourceType), true
	}
	return ofTags([]openimds.Tag{{Key: t.Key, Value: t.Value}}, filter)
}

// describeTags shows the tags of key pairs before those of instances.
func (c *call) describeTags(ctx context.Context, in *wire.DescribeTagsRequest) (wire.DescribeTagsResult, error) {
	result := wire.DescribeTagsResult{Tags: []wire.ResourceTag{}}
	filters, err := readFilters(in.Filters, tagFilters)
	if err != nil {
		return result, err
	}
	p, err := readPage(c.list("DescribeTags", in.Filters), in.MaxResults, in.NextToken)
	if err != nil {
		return result, err
	}
	add := func(id, kind string, tags []openimds.Tag) error {
		for _, t := range tags {
			tag := wire.ResourceTag{ResourceID: id, ResourceType: kind, Key: t.Key, Value: t.Value}
			matches, err := filters.match(ctx, &tag)
			if err != nil {
				return err
			}
			if matches {
				result.Tags = append(result.Tags, tag)
			}
		}
		return nil
	}
	if p.after == "" {
		pairs, err := c.allKeyPairs(ctx)
		if err != nil {
			return result, err
		}
		for _, pair := range pairs {
			if err := add(keyPairID(pair), "key-pair", pair.Tags); err != nil {
				return result, err
			}
		}
		p.after = living
	}
	// A resource's tags stay together, so that a page may have some more than it was asked for.
	for seen := 0; len(result.Tags) < p.size && seen < scanned; {
		found, next, err := c.some(ctx, p.after, scan)
		if err != nil {
			return result, err
		}
		seen += scan
		terminated := strings.HasPrefix(p.after, gone)
		p.after = next
		for i, one := range found {
			if err := add(one.ID, "instance", one.Tags); err != nil {
				return result, err
			}
			if len(result.Tags) >= p.size && i < len(found)-1 {
				p.after = behind(one, terminated)
				break
			}
		}
		if next == "" {
			break
		}
	}
	result.NextToken = p.next(p.after)
	return result, nil
}
