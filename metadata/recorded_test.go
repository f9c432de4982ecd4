package metadata_test

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
)

const unlistedLeaf = "latest/dynamic/fws/instance-monitoring"

// recordingOf records what a view shows under "latest", secrets blanked.
func recordingOf(t testing.TB, v *metadata.View) *openimds.Recording {
	t.Helper()
	r := &openimds.Recording{Source: "here", RecordedAt: now.Truncate(time.Second)}
	add := func(p place) {
		it := openimds.RecordedItem{
			Path: p.path, Listing: p.dir, ContentType: p.item.ContentType, Modified: p.item.Modified.Truncate(time.Second), Body: p.item.Body,
		}
		if !p.dir && strings.Contains(p.path, "/security-credentials/") {
			it.State, it.Body = openimds.RecordedBlanked, []byte("{}")
		}
		r.Items = append(r.Items, it)
	}
	root, _ := metadata.Get(v, "")
	add(place{"", true, root})
	for _, p := range crawl(t, v, "latest") {
		add(p)
	}
	if it, ok := metadata.Get(v, unlistedLeaf); ok {
		add(place{unlistedLeaf, false, it})
	}
	if err := metadata.ValidateRecording(r); err != nil {
		t.Fatal(err)
	}
	return r
}

// replaying is a view of an instance that has nothing of its own but the recording and the role.
func replaying(t testing.TB, v *metadata.View) *metadata.View {
	t.Helper()
	in := &openimds.Instance{ModifiedAt: modified, Recording: recordingOf(t, v), Role: v.Instance.Role}
	return &metadata.View{Instance: in, Now: v.Now, V2: v.V2, Credentials: v.Credentials, Recorded: metadata.NewRecorded(in)}
}

// A recording of an instance answers what the instance answers, byte for byte, at every version.
func TestRecordedAnswersTheSame(t *testing.T) {
	for _, f := range fixtures() {
		replayed := replaying(t, f.view)
		places := append(crawl(t, f.view, "latest"), place{path: ""}, place{path: unlistedLeaf})
		for _, p := range places {
			want, wantOK := metadata.Get(f.view, p.path)
			for _, version := range []string{"latest", "1.0", "2009-04-04"} {
				path := p.path
				if path != "" {
					path = version + strings.TrimPrefix(path, "latest")
				}
				got, ok := metadata.Get(replayed, path)
				if ok != wantOK || !bytes.Equal(got.Body, want.Body) || got.ContentType != want.ContentType ||
					!got.Modified.Truncate(time.Second).Equal(want.Modified.Truncate(time.Second)) {
					t.Errorf("%s: GET %s = %q %+v, want %q %+v", f.name, path, got.Body, got, want.Body, want)
				}
			}
			for _, path := range []string{p.path + "/x", "2033-01-01" + strings.TrimPrefix(p.path, "latest"), "latest/" + p.path + "x"} {
				if _, ok := metadata.Get(replayed, path); ok && p.path != "" {
					if _, real := metadata.Get(f.view, path); !real {
						t.Errorf("%s: GET %s answers", f.name, path)
					}
				}
			}
		}
	}
}

// What the caller does with a body does not reach the next one.
func TestRecordedBodiesAreCopies(t *testing.T) {
	v := replaying(t, fixtureNamed(t, "full"))
	for _, path := range []string{"", "latest", "latest/meta-data/ami-id"} {
		it, _ := metadata.Get(v, path)
		want := string(it.Body)
		clear(it.Body)
		if got := get(t, v, path); got != want {
			t.Errorf("GET %q = %q after the caller's change, want %q", path, got, want)
		}
	}
}

// An overlay means the same over a recording as over the table that was recorded.
func TestRecordedUnderOverlays(t *testing.T) {
	full := fixtureNamed(t, "full")
	pool := map[string]bool{}
	for path := range leaves(crawl(t, full, "latest")) {
		pool[path+"/below"] = true
		for path != "" {
			pool[path], pool[path+"~"] = true, true
			path = path[:max(0, strings.LastIndexByte(path, '/'))]
		}
	}
	places := slices.Sorted(maps.Keys(pool))
	draw := rand.New(rand.NewPCG(3, 4))
	for range 400 {
		v := fixtureNamed(t, "full")
		v.Instance.Overlay = map[string]*string{}
		for range 1 + draw.IntN(8) {
			var value *string
			if draw.IntN(2) == 0 {
				text := strings.Repeat("v", draw.IntN(3))
				value = &text
			}
			v.Instance.Overlay[places[draw.IntN(len(places))]] = value
		}
		if metadata.ValidateOverlay(v.Instance.Overlay) != nil {
			continue
		}
		replayed := replaying(t, full)
		replayed.Instance.Overlay = v.Instance.Overlay
		replayed.Recorded = metadata.NewRecorded(replayed.Instance)
		paths := append(slices.Collect(maps.Keys(v.Instance.Overlay)), places...)
		for _, path := range append(paths, "") {
			at := strings.TrimSuffix("latest/"+path, "/")
			want, wantOK := metadata.Get(v, at)
			got, ok := metadata.Get(replayed, at)
			same := bytes.Equal(got.Body, want.Body)
			if !same { // names that only the overlay has may stand elsewhere among unsorted ones
				same = slices.Equal(parseListing(string(got.Body), path), parseListing(string(want.Body), path))
			}
			if ok != wantOK || !same || got.ContentType != want.ContentType {
				t.Fatalf("GET %s = %q, %v, want %q, %v, with %v", at, got.Body, ok, want.Body, wantOK, v.Instance.Overlay)
			}
		}
	}
}

// What is announced to the instance, and its own user data, lie over the recording.
func TestRecordedAnnouncements(t *testing.T) {
	v := replaying(t, fixtureNamed(t, "plain"))
	in := v.Instance
	if it, ok := metadata.Get(v, "latest/meta-data/spot/instance-action"); ok {
		t.Fatalf("nothing is announced, and there is %q", it.Body)
	}
	in.Events.Spot = &openimds.SpotInterruption{Action: "stop", Time: time.Date(2026, 3, 1, 12, 2, 0, 0, time.UTC)}
	in.UserData = []byte("#!/bin/sh\n\xff")
	v.Recorded = metadata.NewRecorded(in)
	if got := get(t, v, "latest/meta-data/spot/instance-action"); !strings.Contains(got, `"stop"`) {
		t.Errorf("the announcement reads %q", got)
	}
	if got := get(t, v, "1.0/meta-data/spot"); got != "instance-action" {
		t.Errorf("spot/ lists %q", got)
	}
	if got := get(t, v, "latest/meta-data"); !strings.Contains(got, "\nspot/\n") {
		t.Errorf("meta-data/ lists %q", got)
	}
	it, _ := metadata.Get(v, "latest/user-data")
	if string(it.Body) != string(in.UserData) || it.ContentType != "application/octet-stream" {
		t.Errorf("the user data is %q, %s", it.Body, it.ContentType)
	}
	if got := get(t, v, "latest/meta-data/events/maintenance/scheduled"); got != "[]" {
		t.Errorf("the recorded maintenance is %q", got)
	}
	in.Events.Maintenance = []openimds.MaintenanceEvent{{ID: "instance-event-0", Code: "system-reboot", State: "active", NotBefore: now}}
	v.Recorded = metadata.NewRecorded(in)
	if got := get(t, v, "latest/meta-data/events/maintenance/scheduled"); !strings.Contains(got, "system-reboot") {
		t.Errorf("the maintenance is %q", got)
	}
}

func TestValidateRecording(t *testing.T) {
	type item = openimds.RecordedItem
	good := func() []item {
		return []item{
			{Path: "", Listing: true, ContentType: "text/plain", Body: []byte("1.0\nlatest")},
			{Path: "latest", Listing: true, ContentType: "text/plain", Body: []byte("meta-data")},
		}
	}
	leaf := func(path string, change func(*item)) []item {
		it := item{Path: path, ContentType: "text/plain", Body: []byte("x")}
		if change != nil {
			change(&it)
		}
		return append(good(), it)
	}
	none := func(*item) {}
	if err := metadata.ValidateRecording(&openimds.Recording{Items: leaf("latest/meta-data/ami-id", none)}); err != nil {
		t.Fatal(err)
	}
	for want, items := range map[string][]item{
		"no list of versions":        good()[1:],
		"no listing of latest/":      good()[:1],
		"twice":                      append(good(), good()[1]),
		"neither at the root":        leaf("2016-09-02/meta-data", nil),
		"token endpoint":             leaf("latest/api/token", nil),
		`"." or ".."`:                leaf("latest/meta-data/../x", nil),
		"control characters":         leaf("latest/a\rb", nil),
		"which is not a listing":     append(leaf("latest/a", nil), item{Path: "latest/a/b", ContentType: "text/plain"}),
		"unknown state":              leaf("latest/a", func(it *item) { it.State = "lost" }),
		"has a body":                 leaf("latest/a", func(it *item) { it.State = openimds.RecordedAbsent }),
		"content type":               leaf("latest/a", func(it *item) { it.ContentType = "text/plain\r\nX: y" }),
		"content type \"\"":          leaf("latest/a", func(it *item) { it.ContentType = "" }),
		"in the year":                leaf("latest/a", func(it *item) { it.Modified = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }),
		"bytes in all, at most":      leaf("latest/a", func(it *item) { it.Body = make([]byte, metadata.MaxRecordedBytes) }),
		"is not a listing":           {{Path: "", ContentType: "text/plain", Body: []byte("latest")}, good()[1]},
		"items of":                   make([]item, metadata.MaxRecordedItems+1),
		`no list of versions with "`: {{Path: "", Listing: true, ContentType: "text/plain", Body: []byte("1.0\nlatest/")}, good()[1]},
	} {
		err := metadata.ValidateRecording(&openimds.Recording{Items: items})
		if err == nil || !strings.Contains(err.Error(), want) || strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
