package ec2

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/ec2/wire"
)

// TestFiltersEnd: filters that take long, as two hundred patterns over fifty long tags of each instance do, end with the
// time of the request, and patterns that are longer than any value cost nothing for each.
func TestFiltersEnd(t *testing.T) {
	in := &openimds.Instance{}
	for n := range 50 {
		in.Tags = append(in.Tags, openimds.Tag{Key: fmt.Sprint(n), Value: strings.Repeat("a", 256)})
	}
	asked := wire.Filter{Name: "tag-value"}
	for range maxFilterValues {
		asked.Values = append(asked.Values, "*"+strings.Repeat("a", 128)+"b*")
	}
	read, err := readFilters([]wire.Filter{asked}, instanceAttributes)
	if err != nil {
		t.Fatal(err)
	}
	if matches, err := read.match(t.Context(), in); matches || err != nil {
		t.Error(matches, err)
	}
	over, end := context.WithCancel(t.Context())
	end()
	if _, err := read.match(over, in); openimds.KindOf(err) != openimds.Unavailable || !strings.Contains(err.Error(), "take too long") {
		t.Errorf("after the end: %v", err)
	}
	none, err := readFilters(nil, instanceAttributes)
	if err != nil {
		t.Fatal(err)
	}
	if matches, err := none.match(over, in); !matches || err != nil {
		t.Errorf("no filter: %v, %v", matches, err)
	}
	for pattern, least := range map[string]int{"abc": 0, "*": 0, "a*b?c": 4, `a\*b*`: 3, `*\`: 1, `\\`: 1, "é*": 1} {
		if got := readPattern(pattern); got.least != least {
			t.Errorf("%s asks for %d characters, want %d", pattern, got.least, least)
		}
	}
	for _, tt := range []struct {
		pattern, value string
		want           bool
	}{
		{"é*", "é", true}, {"*é", "é", true}, {"??", "é", false}, {`\\`, `\`, true}, {`a\`, `a\`, true}, {`\a`, "a", true}, {"***", "", true}, {"?", "", false},
	} {
		if got := readPattern(tt.pattern).matches(tt.value); got != tt.want {
			t.Errorf("%s and %q: %v", tt.pattern, tt.value, got)
		}
	}
}
