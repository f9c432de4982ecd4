package control_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

func tags(pairs ...string) []openimds.Tag {
	var tags []openimds.Tag
	for i := 0; i < len(pairs); i += 2 {
		tags = append(tags, openimds.Tag{Key: pairs[i], Value: pairs[i+1]})
	}
	return tags
}

func TestTags(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("web")
	if _, err := f.ImportKeyPair(ctx, "key", ed25519Key); err != nil {
		t.Fatal(err)
	}
	if _, err := f.PutAlarm(ctx, "alarm", alarmOf("web"), nil); err != nil {
		t.Fatal(err)
	}
	read := map[string]func() []openimds.Tag{
		"web": func() []openimds.Tag { return f.get("web").Tags },
		"key": func() []openimds.Tag {
			pair, err := f.KeyPair(ctx, "key")
			if err != nil {
				t.Fatal(err)
			}
			return pair.Tags
		},
		"alarm": func() []openimds.Tag {
			alarm, err := f.Alarm(ctx, "alarm")
			if err != nil {
				t.Fatal(err)
			}
			return alarm.Tags
		},
	}
	for name, now := range read {
		want := func(pairs ...string) {
			t.Helper()
			if got := now(); len(got)+len(pairs) > 0 && !reflect.DeepEqual(got, tags(pairs...)) {
				t.Errorf("%s has the tags %v, want %v", name, got, pairs)
			}
		}
		ops, err := f.TagResource(ctx, name, "", tags("b", "1", "a", "2"))
		done(t, ops, err, "TagResource "+name)
		want("b", "1", "a", "2")
		ops, err = f.TagResource(ctx, name, "", tags("c", "", "b", "3"))
		done(t, ops, err, "TagResource "+name)
		want("b", "3", "a", "2", "c", "")
		ops, err = f.UntagResource(ctx, name, "", []string{"b", "absent", "b"})
		done(t, ops, err, "UntagResource "+name)
		want("a", "2", "c", "")
		ops, err = f.UntagResource(ctx, name, "", []string{"a", "c"})
		done(t, ops, err, "UntagResource "+name)
		want()
	}
	// Tags that stay as they are leave the record alone.
	was := f.get("web")
	f.sleep(1e10)
	if _, err := f.UntagResource(ctx, "web", "", []string{"absent"}); err != nil || !reflect.DeepEqual(f.get("web"), was) {
		t.Errorf("nothing to do changed the instance, %v", err)
	}
}

func TestTagLimits(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("web", "db")
	if _, err := f.AllocateStaticIP(ctx, "address"); err != nil {
		t.Fatal(err)
	}
	var fifty []openimds.Tag
	for n := range 50 {
		fifty = append(fifty, openimds.Tag{Key: fmt.Sprint("key", n)})
	}
	good := [][]openimds.Tag{
		fifty,
		tags(strings.Repeat("k", 128), strings.Repeat("ü", 256)),
		tags("Ünï code+-=._:/@", "42 東京", "Aws", "aws:"),
	}
	for _, tags := range good {
		if _, err := f.TagResource(ctx, "db", "", tags); err != nil {
			t.Errorf("%.100v: %v", tags, err)
		}
		if _, err := f.UntagResource(ctx, "db", "", append(strings.Fields("Ünï"), keysOf(tags)...)); err != nil {
			t.Error(err)
		}
	}
	if _, err := f.TagResource(ctx, "web", "", fifty); err != nil {
		t.Fatal(err)
	}
	before := f.revision()
	for message, tt := range map[string]struct {
		code openimds.Code
		tags []openimds.Tag
	}{
		"A resource has at most 50 tags, not 51":                                         {openimds.TooMany, tags("one more", "")},
		"A tag's key has 1 to 128 characters":                                            {openimds.OutOfRange, tags(strings.Repeat("k", 129), "")},
		"A tag's value has at most 256 characters":                                       {openimds.TooLarge, tags("a", strings.Repeat("v", 257))},
		`Tags consist of letters, digits, spaces and + - = . _ : / @, unlike "a"`:        {openimds.Malformed, tags("a", "line\nfeed")},
		`Tags consist of letters, digits, spaces and + - = . _ : / @, unlike "<script>"`: {openimds.Malformed, tags("<script>", "")},
		`Tags consist of letters, digits, spaces and + - = . _ : / @, unlike "\xff"`:     {openimds.Malformed, tags("\xff", "")},
		`The tag key "AWS:name" begins with aws:, which is reserved`:                     {openimds.Reserved, tags("AWS:name", "")},
		`The tag key "a" is given twice`:                                                 {openimds.Duplicate, tags("a", "1", "a", "1")},
	} {
		_, err := f.TagResource(ctx, "web", "", tt.tags)
		refused(t, err, openimds.InvalidInput, tt.code, message)
	}
	_, err := f.TagResource(ctx, "web", "", tags("", "v"))
	refused(t, err, openimds.InvalidInput, openimds.OutOfRange, "A tag's key has 1 to 128 characters")
	if f.revision() != before {
		t.Error("refused tags left something behind")
	}
	if _, err := f.TagResource(ctx, "web", "", tags("key7", "new")); err != nil {
		t.Errorf("one of fifty cannot be changed: %v", err)
	}
	_, err = f.TagResource(ctx, "address", "", tags("a", "b"))
	refused(t, err, openimds.InvalidInput, openimds.Incompatible, "A static IP has no tags")
	_, err = f.TagResource(ctx, "nobody", "", tags("a", "b"))
	refused(t, err, openimds.NotFound, openimds.DoesNotExist, "The resource nobody does not exist")
	arn := f.ARN(openimds.TypeInstance, f.get("web").UUID)
	if _, err := f.UntagResource(ctx, "web", arn, nil); err != nil {
		t.Errorf("with its ARN: %v", err)
	}
	_, err = f.UntagResource(ctx, "db", arn, nil)
	refused(t, err, openimds.InvalidInput, openimds.Mismatch, "The resource db does not have the ARN "+arn)
}

func keysOf(tags []openimds.Tag) []string {
	var keys []string
	for _, t := range tags {
		keys = append(keys, t.Key)
	}
	return keys
}

// TestTagsInMetadata: a key that could not stand in a path and the switch exclude each other, in
// whatever order they come.
func TestTagsInMetadata(t *testing.T) {
	ctx := t.Context()
	for _, key := range []string{"a/b", "a b", ".", "..", "_index", "ü"} {
		f := newFixture(t, nil)
		f.create("web")
		message := fmt.Sprintf("The tag key %q cannot be shown in the metadata: only letters, digits and + - = . , _ : @ can, and not . .. _index", key)
		if _, err := f.TagResource(ctx, "web", "", tags("fine", "1", key, "")); err != nil {
			t.Errorf("%q: %v", key, err)
		}
		_, err := f.SetInstance(ctx, "web", control.InstanceUpdate{TagsInMetadata: new(true)})
		refused(t, err, openimds.InvalidInput, openimds.Malformed, message)
		if _, err := f.UntagResource(ctx, "web", "", []string{key}); err != nil {
			t.Error(err)
		}
		if _, err := f.SetInstance(ctx, "web", control.InstanceUpdate{TagsInMetadata: new(true)}); err != nil {
			t.Errorf("without %q: %v", key, err)
		}
		_, err = f.TagResource(ctx, "web", "", tags(key, ""))
		refused(t, err, openimds.InvalidInput, openimds.Malformed, message)
		if _, err := f.TagResource(ctx, "web", "", tags("a+-=._:@Z9", "any / value")); err != nil {
			t.Error(err)
		}
		if in := f.get("web"); in.Options.Tags != openimds.EndpointEnabled || len(in.Tags) != 2 {
			t.Errorf("at the end: %v %v", in.Options.Tags, in.Tags)
		}
	}
}
