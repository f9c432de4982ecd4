package control

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// Limits of tags (Lightsail API reference, Tag).
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

var tagForm = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// checkTags refuses tags that Lightsail refuses.
func checkTags(tags []openimds.Tag) error {
	if len(tags) > maxTags {
		return openimds.Errorf(openimds.InvalidInput, openimds.TooMany, "A resource has at most %d tags, not %d", maxTags, len(tags))
	}
	for i, t := range tags {
		switch {
		case t.Key == "" || utf8.RuneCountInString(t.Key) > maxTagKey:
			return openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "A tag's key has 1 to %d characters", maxTagKey)
		case utf8.RuneCountInString(t.Value) > maxTagValue:
			return openimds.Errorf(openimds.InvalidInput, openimds.TooLarge, "A tag's value has at most %d characters", maxTagValue)
		case !tagForm.MatchString(t.Key) || !tagForm.MatchString(t.Value):
			return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "Tags consist of letters, digits, spaces and + - = . _ : / @, unlike %.130q", t.Key)
		case strings.HasPrefix(strings.ToLower(t.Key), "aws:"):
			return openimds.Errorf(openimds.InvalidInput, openimds.Reserved, "The tag key %.130q begins with aws:, which is reserved", t.Key)
		case slices.ContainsFunc(tags[:i], func(other openimds.Tag) bool { return other.Key == t.Key }):
			return openimds.Errorf(openimds.InvalidInput, openimds.Duplicate, "The tag key %.130q is given twice", t.Key)
		}
	}
	return nil
}

// checkTagsInMetadata refuses tags that the metadata cannot show, where it is to show them.
func checkTagsInMetadata(in *openimds.Instance) error {
	if in.Options.Tags != openimds.EndpointEnabled {
		return nil
	}
	for _, t := range in.Tags {
		if !metadata.IsTagKey(t.Key) {
			return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The tag key %.130q cannot be shown in the metadata: only letters, digits and + - = . , _ : @ can, and not . .. _index", t.Key)
		}
	}
	return nil
}

// TagResource sets tags by their keys; other tags stay. An empty arn is not looked at.
//
// Errors: InvalidInput/OutOfRange, InvalidInput/TooLarge, InvalidInput/Malformed, InvalidInput/TooMany,
// InvalidInput/Duplicate and InvalidInput/Reserved for the tags, InvalidInput/Mismatch for another ARN,
// InvalidInput/Incompatible for what has no tags; NotFound/DoesNotExist.
func (s *Service) TagResource(ctx context.Context, name, arn string, tags []openimds.Tag) ([]openimds.Operation, error) {
	if err := checkTags(tags); err != nil {
		return nil, err
	}
	return operationsOf(s.commit(ctx, "TagResource", func(d *draft) error { return s.editTags(ctx, d, "TagResource", name, arn, withTags(tags)) }))
}

// KeyPairRef is what [Service.TagResources] and [Service.UntagResources] call a key pair in a service that goes by ids
// ([Service.ByID]): the name alone may be an instance's id.
func KeyPairRef(name string) string { return string(openimds.TypeKeyPair) + "/" + name }

// TagResources is [Service.TagResource] of several, as [Service.StopInstances].
//
// Errors: InvalidInput/OutOfRange, InvalidInput/TooMany, InvalidInput/Duplicate and InvalidInput/Reserved for the tags,
// InvalidInput/Incompatible for what has no tags; NotFound/DoesNotExist.
func (s *Service) TagResources(ctx context.Context, names []string, tags []openimds.Tag) error {
	if err := checkTags(tags); err != nil {
		return err
	}
	_, err := s.each(ctx, "TagResource", names, func(s *Service, d *draft, name string) error {
		return s.editTags(ctx, d, "TagResource", name, "", withTags(tags))
	})
	return err
}

// withTags sets tags by their keys.
func withTags(tags []openimds.Tag) func([]openimds.Tag) []openimds.Tag {
	return func(now []openimds.Tag) []openimds.Tag {
		for _, t := range tags {
			if i := slices.IndexFunc(now, func(other openimds.Tag) bool { return other.Key == t.Key }); i >= 0 {
				now[i] = t
			} else {
				now = append(now, t)
			}
		}
		return now
	}
}

// TagMatch is a tag of that key, whatever its value where Value is nil.
type TagMatch struct {
	Key   string
	Value *string
}

// UntagResources takes tags away from several resources, as [Service.StopInstances]: those that match, or all where tags
// has none (EC2 API reference, DeleteTags).
//
// Errors: InvalidInput/Incompatible for what has no tags; NotFound/DoesNotExist.
func (s *Service) UntagResources(ctx context.Context, names []string, tags []TagMatch) error {
	_, err := s.each(ctx, "UntagResource", names, func(s *Service, d *draft, name string) error {
		return s.editTags(ctx, d, "UntagResource", name, "", func(now []openimds.Tag) []openimds.Tag {
			return slices.DeleteFunc(now, func(t openimds.Tag) bool {
				return len(tags) == 0 || slices.ContainsFunc(tags, func(m TagMatch) bool { return m.Key == t.Key && (m.Value == nil || *m.Value == t.Value) })
			})
		})
	})
	return err
}

// UntagResource takes tags away by their keys; keys without a tag are no error.
//
// Errors: InvalidInput/Mismatch for another ARN, InvalidInput/Incompatible for what has no tags;
// NotFound/DoesNotExist.
func (s *Service) UntagResource(ctx context.Context, name, arn string, keys []string) ([]openimds.Operation, error) {
	return operationsOf(s.commit(ctx, "UntagResource", func(d *draft) error {
		return s.editTags(ctx, d, "UntagResource", name, arn, func(now []openimds.Tag) []openimds.Tag {
			return slices.DeleteFunc(now, func(t openimds.Tag) bool { return slices.Contains(keys, t.Key) })
		})
	}))
}

// editTags changes the tags of the resource of that name, of whichever type it is.
func (s *Service) editTags(ctx context.Context, d *draft, what, name, arn string, edit func([]openimds.Tag) []openimds.Tag) error {
	r, err := s.anyResource(ctx, name)
	if err != nil {
		return err
	}
	if arn != "" && arn != s.ARN(r.kind, r.uuid) {
		return openimds.Errorf(openimds.InvalidInput, openimds.Mismatch, "The resource %s does not have the ARN %.300s", name, arn)
	}
	if r.tags == nil {
		return openimds.Errorf(openimds.InvalidInput, openimds.Incompatible, "A %s has no tags", r.kind)
	}
	before := slices.Clone(*r.tags)
	*r.tags = edit(*r.tags)
	if err := checkTags(*r.tags); err != nil { // for their number
		return err
	}
	op := openimds.Operation{Type: what, Resource: strings.TrimPrefix(r.was.Key, records.Prefix(r.kind)), ResourceType: r.kind}
	in, isInstance := r.value.(*openimds.Instance)
	if isInstance {
		op.Zone = in.Zone
		if err := checkTagsInMetadata(in); err != nil {
			return err
		}
	}
	if !slices.Equal(before, *r.tags) {
		if isInstance {
			d.putInstance(r.was, in)
		} else {
			d.put(r.was, r.value)
		}
	}
	d.operation(op)
	return nil
}

// resource is a resource of any type, as far as tagging has to know it.
type resource struct {
	kind  openimds.ResourceType
	value any
	was   store.Record
	uuid  string
	tags  *[]openimds.Tag // nil: the type has none
}

// anyResource finds the resource of that name: names are unique across the types.
func (s *Service) anyResource(ctx context.Context, name string) (resource, error) {
	if pair, ok := strings.CutPrefix(name, KeyPairRef("")); ok && s.byID {
		found, was, err := s.keyPair(ctx, pair)
		if err != nil {
			return resource{}, err
		}
		return resource{openimds.TypeKeyPair, found, was, found.UUID, &found.Tags}, nil
	}
	if s.byID && strings.HasPrefix(name, "i-") {
		in, was, err := s.instanceOfID(ctx, name)
		if err != nil {
			return resource{}, err
		}
		return resource{openimds.TypeInstance, in, was, in.UUID, &in.Tags}, nil
	}
	if err := openimds.ValidateName(name); err != nil {
		return resource{}, err
	}
	for _, t := range resourceTypes() {
		r, err := s.store.Get(ctx, records.Key(t, name))
		if errors.Is(err, store.ErrNoRecord) {
			continue
		}
		if err != nil {
			return resource{}, storeFailed(err)
		}
		return describe(t, r)
	}
	return resource{}, openimds.Errorf(openimds.NotFound, openimds.DoesNotExist, "The %s %s does not exist", openimds.TypeAny, name)
}

func describe(t openimds.ResourceType, r store.Record) (resource, error) {
	switch t {
	case openimds.TypeInstance:
		in, err := read[*openimds.Instance](r)
		if err != nil {
			return resource{}, err
		}
		return resource{t, in, r, in.UUID, &in.Tags}, nil
	case openimds.TypeKeyPair:
		pair, err := read[*openimds.KeyPair](r)
		if err != nil {
			return resource{}, err
		}
		return resource{t, pair, r, pair.UUID, &pair.Tags}, nil
	case openimds.TypeStaticIP:
		ip, err := read[*openimds.StaticIP](r)
		if err != nil {
			return resource{}, err
		}
		return resource{t, ip, r, ip.UUID, nil}, nil
	default:
		alarm, err := read[*openimds.Alarm](r)
		if err != nil {
			return resource{}, err
		}
		return resource{t, alarm, r, alarm.UUID, &alarm.Tags}, nil
	}
}

// Names returns the names of at most limit resources of all types, beginning behind the place after
// (empty: at the first), and the place to go on behind, which is empty at the end.
//
// Errors: InvalidInput/Malformed for a place that was not given out.
func (s *Service) Names(ctx context.Context, after string, limit int) (names []string, next string, err error) {
	types := resourceTypes()
	i := 0
	if after != "" {
		i = slices.IndexFunc(types, func(t openimds.ResourceType) bool { return strings.HasPrefix(after, records.Prefix(t)) })
		if i < 0 {
			return nil, "", openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The page token is not one that was given out here")
		}
	}
	for ; i < len(types); i++ {
		page, err := s.store.List(ctx, store.Range{Prefix: records.Prefix(types[i]), After: after, Limit: limit - len(names)})
		if err != nil {
			return nil, "", storeFailed(err)
		}
		for _, r := range page.Records {
			names = append(names, strings.TrimPrefix(r.Key, records.Prefix(types[i])))
		}
		if page.More {
			return names, page.Records[len(page.Records)-1].Key, nil
		}
		if len(names) == limit && i+1 < len(types) {
			return names, records.Prefix(types[i+1]), nil // behind its prefix is before its first name
		}
		after = ""
	}
	return names, "", nil
}
