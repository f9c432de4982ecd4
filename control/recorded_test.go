package control_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// largeRecording is about as large as a recording may be.
func largeRecording() *openimds.Recording {
	r := aRecording("")
	r.Items = append(r.Items, openimds.RecordedItem{Path: "latest/large", ContentType: "text/plain", Body: []byte(strings.Repeat("x", 240<<10))})
	return r
}

// loaded is an instance with its recording.
func (f *fixture) loaded(name string) *openimds.Instance {
	f.t.Helper()
	in := f.get(name)
	if err := records.LoadRecording(f.t.Context(), f.store, in, nil); err != nil {
		f.t.Fatal(err)
	}
	return in
}

func (f *fixture) keys(prefix string) (keys []string) {
	f.t.Helper()
	page, err := f.store.List(f.t.Context(), store.Range{Prefix: prefix})
	if err != nil {
		f.t.Fatal(err)
	}
	for _, r := range page.Records {
		keys = append(keys, r.Key)
	}
	return keys
}

// TestRecordingApart: a recording is written once, whatever else changes of its instance, is replaced
// and taken away with what the instance says of it, and goes with the instance.
func TestRecordingApart(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web", "web2")
	set := func(name string, r *openimds.Recording) {
		t.Helper()
		if _, err := f.SetInstance(t.Context(), name, control.InstanceUpdate{Recording: r}); err != nil {
			t.Fatal(err)
		}
	}
	set("web2", aRecording("kept"))
	others := f.keys(records.RecordingPrefix)
	mine := func() []string { return f.keys(records.RecordingPrefix + "web/") }
	set("web", largeRecording())
	first := mine()
	if len(first) != 1 || !reflect.DeepEqual(f.loaded("web").Recording, largeRecording()) {
		t.Fatalf("the recording has the records %q and is not what was set", first)
	}
	watch := f.store.Watch("", f.revision())
	for hops := range 10 {
		f.update("web", openimds.OptionsUpdate{HopLimit: new(hops + 2)})
		if err := f.MarkApplied(t.Context(), f.get("web")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.StopInstance(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	events, err := watch.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	for _, e := range events {
		written += len(e.Value)
	}
	if written > 21*8<<10 || !reflect.DeepEqual(mine(), first) {
		t.Errorf("20 changes of options and a stop wrote %d bytes", written)
	}
	set("web", aRecording("second"))
	if now := mine(); len(now) != 1 || now[0] == first[0] || !reflect.DeepEqual(f.loaded("web").Recording, aRecording("second")) {
		t.Errorf("another recording left the records %q", now)
	}
	set("web", &openimds.Recording{})
	if left := mine(); len(left) > 0 {
		t.Errorf("a recording that was taken away left %q", left)
	}
	set("web", largeRecording())
	if _, err := f.DeleteInstance(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if left := mine(); len(left) > 0 || !reflect.DeepEqual(f.keys(records.RecordingPrefix), others) {
		t.Errorf("a deleted instance left %q", left)
	}
}

// TestRecordingWithin: an instance as earlier versions stored it, with its recording in its record, is
// read as it is, and carried over by whatever changes it first.
func TestRecordingWithin(t *testing.T) {
	for what, change := range map[string]func(*fixture) error{
		"options": func(f *fixture) error {
			_, err := f.UpdateOptions(t.Context(), "web", openimds.OptionsUpdate{HopLimit: new(3)})
			return err
		},
		"stop": func(f *fixture) error { _, err := f.StopInstance(t.Context(), "web"); return err },
		"data": func(f *fixture) error {
			_, err := f.SetInstance(t.Context(), "web", control.InstanceUpdate{UserData: new([]byte("x"))})
			return err
		},
		"delete": func(f *fixture) error { _, err := f.DeleteInstance(t.Context(), "web"); return err },
		"replace": func(f *fixture) error {
			_, err := f.SetInstance(t.Context(), "web", control.InstanceUpdate{Recording: largeRecording()})
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			f := newFixture(t, nil)
			f.create("web")
			in := f.get("web")
			in.Recording = largeRecording()
			value, err := records.EncodeInstance(in)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(value), `{"schema":1,`) || !strings.Contains(string(value), `"recording":{"source":`) || strings.Contains(string(value), `"recorded":`) {
				t.Fatal("this is not how earlier versions stored it")
			}
			if _, err := f.store.Commit(t.Context(), store.Change{Key: records.InstancePrefix + "web", Value: value, If: store.Whatever}); err != nil {
				t.Fatal(err)
			}
			if got := f.loaded("web"); got.Recorded == nil || got.Recorded.Items != 3 || !reflect.DeepEqual(got.Recording, largeRecording()) {
				t.Errorf("it is read as %+v", got.Recorded)
			}
			if err := change(f); err != nil {
				t.Fatal(err)
			}
			apart := f.keys(records.RecordingPrefix)
			if what == "delete" {
				if len(apart) > 0 {
					t.Errorf("deleted, and %q stayed", apart)
				}
				return
			}
			record, err := f.store.Get(t.Context(), records.InstancePrefix+"web")
			if err != nil || len(record.Value) > 8<<10 || len(apart) != 1 {
				t.Errorf("the record has %d bytes, and recordings are %q, %v", len(record.Value), apart, err)
			}
			if !strings.HasPrefix(string(record.Value), `{"schema":2,`) {
				t.Error("an earlier version would read the record and answer the table")
			}
			if !reflect.DeepEqual(f.loaded("web").Recording, largeRecording()) {
				t.Error("the recording is another one")
			}
		})
	}
}

// TestLoadRecording: what is known is not read again, and what is gone is told.
func TestLoadRecording(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web")
	if err := records.LoadRecording(t.Context(), nil, f.get("web"), nil); err != nil {
		t.Error(err)
	}
	for _, r := range []*openimds.Recording{largeRecording(), aRecording("next")} {
		if _, err := f.SetInstance(t.Context(), "web", control.InstanceUpdate{Recording: r}); err != nil {
			t.Fatal(err)
		}
		known, again := f.loaded("web"), f.get("web")
		if err := records.LoadRecording(t.Context(), nil, again, known); err != nil || again.Recording != known.Recording {
			t.Errorf("the same recording was read again, %v", err)
		}
		old := f.get("web")
		if _, err := f.SetInstance(t.Context(), "web", control.InstanceUpdate{Recording: aRecording("other")}); err != nil {
			t.Fatal(err)
		}
		if err := records.LoadRecording(t.Context(), f.store, old, nil); !errors.Is(err, store.ErrNoRecord) || old.Recording != nil {
			t.Errorf("a recording that was replaced: %v", err)
		}
		if next := f.get("web"); records.LoadRecording(context.Background(), f.store, next, known) != nil || !reflect.DeepEqual(next.Recording, aRecording("other")) {
			t.Error("the known recording was taken for another one")
		}
	}
}

// TestInstanceRecordIsBounded: what is in one record is bounded together. A record that an earlier version
// let grow beyond that takes changes that do not enlarge it.
func TestInstanceRecordIsBounded(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web")
	size := func() int {
		r, err := f.store.Get(t.Context(), records.InstancePrefix+"web")
		if err != nil {
			t.Fatal(err)
		}
		return len(r.Value)
	}
	set := func(u control.InstanceUpdate) error { _, err := f.SetInstance(t.Context(), "web", u); return err }
	// All that is bounded by itself, at its most, fits, if it is text.
	markup := strings.Repeat("<", 60<<10)
	if err := set(control.InstanceUpdate{UserData: new(make([]byte, openimds.MaxUserData)), Overlay: map[string]*string{"meta-data/x": &markup}}); err != nil {
		t.Fatal(err)
	}
	if n := size(); n > 100<<10 {
		t.Errorf("60 KB of overlay and 16 KB of user data take %d bytes", n)
	}
	before := f.revision()
	words := make([]string, 5000)
	for i := range words {
		words[i] = strings.Repeat("x", 200)
	}
	odd := strings.Repeat("\x01", 60<<10)
	for what, u := range map[string]control.InstanceUpdate{
		"product codes": {ProductCodes: &words},
		"ancestors":     {AncestorAMIIDs: &words},
		"an overlay":    {Overlay: map[string]*string{"meta-data/x": &odd}},
	} {
		err := set(u)
		if openimds.KindOf(err) != openimds.InvalidInput || !strings.Contains(err.Error(), "would take") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if f.revision() != before {
		t.Error("a refused change left something behind")
	}
	in := f.get("web")
	in.ProductCodes = words
	value, err := records.EncodeInstance(in)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.Commit(t.Context(), store.Change{Key: records.InstancePrefix + "web", Value: value, If: store.Whatever}); err != nil {
		t.Fatal(err)
	}
	if err := set(control.InstanceUpdate{UserData: new([]byte{})}); err != nil {
		t.Errorf("a large record cannot be made smaller: %v", err)
	}
	f.update("web", openimds.OptionsUpdate{HopLimit: new(2)})
}
