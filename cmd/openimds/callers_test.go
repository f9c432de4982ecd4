package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
)

func TestHints(t *testing.T) {
	const (
		arrive = "web-1, 10.0.0.7 curl/8: token answer did not arrive: "
		all    = " (3 in all, the last at 1970-01-01 00:16:40)"
	)
	for _, c := range []struct {
		limit, needed, current int
		since                  int64
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
		var caller wire.MetadataCaller
		text := fmt.Sprintf(`{"instanceName":"web-1","source":"10.0.0.7","userAgent":"curl/8","counts":{%q:3},
			"tokenUndelivered":{"time":1000.0,"hopLimit":%d,"neededHopLimit":%d,"currentHopLimit":%d}}`,
			openimds.MetricTokenUndelivered, c.limit, c.needed, c.current)
		if err := json.Unmarshal([]byte(text), &caller); err != nil {
			t.Fatal(err)
		}
		if got := hint(caller, time.Unix(c.since, 0)); got != c.want {
			t.Errorf("%+v:\n got %q\nwant %q", c, got, c.want)
		}
	}
	if got := hint(wire.MetadataCaller{}, time.Time{}); got != "" {
		t.Errorf("nothing lost: %q", got)
	}
}

// TestWholeLists: a list that takes many answers is shown whole, or not at all.
func TestWholeLists(t *testing.T) {
	cut := false
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct{ PageToken string }
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		name, next := "web-1", "second"
		switch {
		case request.PageToken == "second" && cut:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `{"__type":"InvalidInputException","message":"no"}`)
			return
		case request.PageToken == "second":
			name, next = "web-2", ""
		}
		_, _ = fmt.Fprintf(w, `{"callers":[{"instanceName":%q,"counts":{}}],"instances":[{"name":%q}],"nextPageToken":%q}`, name, name, next)
	}))
	defer api.Close()
	t.Setenv("AWS_ENDPOINT_URL_LIGHTSAIL", api.URL)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "AKIDEXAMPLE")
	}
	for _, command := range []string{"callers", "instance list"} {
		for _, cut = range []bool{false, true} {
			var out, errs bytes.Buffer
			code := run(t.Context(), strings.Fields(command), &out, &errs)
			if cut && (code != exitFailed || out.Len() > 0) {
				t.Errorf("%s of a list that breaks off: code %d, %s%s", command, code, &out, &errs)
			}
			if !cut && (code != exitDone || !strings.Contains(out.String(), "web-1") || !strings.Contains(out.String(), "web-2")) {
				t.Errorf("%s: code %d, %s%s", command, code, &out, &errs)
			}
		}
	}
}
