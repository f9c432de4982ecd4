package main

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/openimds/openimds"
)

func TestHints(t *testing.T) {
	const (
		arrive = "web-1, 10.0.0.7 curl/8: token answer did not arrive: "
		all    = " (3 in all, the last at 1970-01-01 00:16:40)"
	)
	for _, c := range []struct {
		limit, needed, current int
		since                  epoch
		want                   string
	}{
		{1, 2, 1, 0, arrive + "hop limit 1 is too small for this caller, which needs at least 2" + all},
		{1, 3, 2, 1000, arrive + "hop limit 1 is too small for this caller, which needs at least 3" + all},
		{1, 0, 1, 0, arrive + "hop limit 1 may be too small for this caller" + all},
		{2, 2, 2, 0, "web-1, 10.0.0.7 curl/8: token answer was not acknowledged, but hop limit 2 is enough for this caller" + all},
		{1, 2, 2, 0, ""},    // raised
		{1, 0, 2, 0, ""},    // raised, perhaps enough
		{1, 2, 1, 1001, ""}, // not of interest
	} {
		var caller wireCaller
		text := fmt.Sprintf(`{"instanceName":"web-1","source":"10.0.0.7","userAgent":"curl/8","counts":{%q:3},
			"tokenUndelivered":{"time":1000.0,"hopLimit":%d,"neededHopLimit":%d,"currentHopLimit":%d}}`,
			openimds.MetricTokenUndelivered, c.limit, c.needed, c.current)
		if err := json.Unmarshal([]byte(text), &caller); err != nil {
			t.Fatal(err)
		}
		if got := caller.hint(c.since); got != c.want {
			t.Errorf("%+v:\n got %q\nwant %q", c, got, c.want)
		}
	}
	if got := new(wireCaller).hint(0); got != "" {
		t.Errorf("nothing lost: %q", got)
	}
}
