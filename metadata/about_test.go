package metadata_test

import (
	"regexp"
	"slices"
	"testing"

	"github.com/openimds/openimds/metadata"
)

// Whatever stands for its placeholders, each category is described by its row; and the secrets are these.
func TestDescribe(t *testing.T) {
	placeholder := regexp.MustCompile(`\{[^}]*\}`)
	secrets := []string{
		"meta-data/iam/security-credentials/{role}", "meta-data/iam/security-credentials-extended/{role}",
		"meta-data/identity-credentials/ec2/security-credentials/ec2-instance", "user-data",
	}
	for _, c := range metadata.Categories() {
		got := metadata.Describe(placeholder.ReplaceAllString(c.Path, "any name"))
		if got.Doc != c.Doc || got.Secret != slices.Contains(secrets, c.Path) {
			t.Errorf("%s is described as %+v", c.Path, got)
		}
	}
	for path, want := range map[string]metadata.About{
		"": {}, "nothing": {}, "meta-data/nothing/below": {}, "meta-data/ami-id/below": {}, "dynamic/x": {},
		"user-data/part": {Secret: true}, // only an overlay has it
		// A directory is none, but an overlay may have a value in its place.
		"meta-data/iam/security-credentials": {Secret: true}, "meta-data/iam": {Secret: true}, "meta-data/placement": {},
	} {
		if got := metadata.Describe(path); got != want {
			t.Errorf("%q is described as %+v, want %+v", path, got, want)
		}
	}
}

func TestChildren(t *testing.T) {
	for _, c := range []struct {
		dir, listing string
		want         []string
	}{
		{"", "dynamic\nmeta-data\nuser-data", []string{"dynamic", "meta-data", "user-data"}},
		{"dynamic", "fws/\ninstance-identity/\n", []string{"fws", "instance-identity"}},
		{"meta-data/public-keys", "0=my=key\n1=other", []string{"0", "1"}},
		{"meta-data/tags/instance", "a=b", []string{"a=b"}},
		{"meta-data", "", []string{}},
	} {
		if got := metadata.Children(c.dir, []byte(c.listing)); !slices.Equal(got, c.want) {
			t.Errorf("%q lists %q: %q, want %q", c.dir, c.listing, got, c.want)
		}
	}
}
