package agent_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// recordedHost has an instance "web" with a recording; each recording goes with user data of the same
// text, so that halves of two states show.
func recordedHost(t *testing.T, wrap func(store.Store) store.Store) *host {
	h := newHost(t, wrap)
	h.service = control.New(h.store, control.Config{Region: "us-east-1", AccountID: "123456789012"})
	h.create("web")
	h.record("first")
	return h
}

func (h *host) record(text string) {
	h.t.Helper()
	data := []byte(text)
	_, err := h.service.SetInstance(h.t.Context(), "web", control.InstanceUpdate{UserData: &data, Recording: &openimds.Recording{
		Source: text, Items: []openimds.RecordedItem{
			{Path: "latest/x", ContentType: "text/plain", Body: data},
			{Path: "", Listing: true, ContentType: "text/plain", Body: []byte("latest")},
			{Path: "latest", Listing: true, ContentType: "text/plain", Body: []byte("x")},
		},
	}})
	if err != nil {
		h.t.Fatal(err)
	}
}

// whole refuses a state that is served with another one's recording, or without its own.
func whole(in *openimds.Instance) error {
	if in == nil || in.Recorded == nil && in.Recording == nil {
		return nil
	}
	if in.Recording == nil || in.Recorded == nil || in.Recording.Source != string(in.UserData) || in.Recorded.Source != in.Recording.Source ||
		string(in.Recording.Items[0].Body) != string(in.UserData) {
		return fmt.Errorf("half a state: %q with %+v of %+v", in.UserData, in.Recorded, in.Recording)
	}
	return nil
}

// TestRecordedWhole changes recordings, options and lives at once, while seats come and go: none ever
// has one state's recording with another's options, and the last state arrives.
func TestRecordedWhole(t *testing.T) {
	h := recordedHost(t, nil)
	var mu sync.Mutex
	var halves []string
	check := func(in *openimds.Instance) error {
		if err := whole(in); err != nil {
			mu.Lock()
			halves = append(halves, err.Error())
			mu.Unlock()
		}
		return nil
	}
	web := seat{before: check}
	h.seat("web", &web)
	h.run()
	var writers sync.WaitGroup
	writers.Go(func() {
		for i := range 150 {
			h.record(fmt.Sprint("recording ", i))
		}
	})
	writers.Go(func() {
		for i := range 150 {
			h.hops("web", 2+i%60)
		}
	})
	writers.Go(func() {
		for range 60 {
			if err := h.agent.Unseat("web"); err != nil {
				t.Error(err)
			}
			h.seat("web", &seat{before: check})
		}
	})
	writers.Wait()
	for i := range 20 { // its lives
		if _, err := h.service.DeleteInstance(t.Context(), "web"); err != nil {
			t.Fatal(err)
		}
		h.create("web")
		h.record(fmt.Sprint("life ", i))
	}
	last := seat{before: check}
	h.seat("web", &last)
	h.record("last")
	h.hops("web", 64)
	eventually(t, "the last state", func() bool {
		now := last.now()
		return now != nil && now.Options.HopLimit == 64 && now.Recording != nil && now.Recording.Source == "last"
	})
	if len(halves) > 0 {
		t.Errorf("%d states were not whole: %s", len(halves), halves[0])
	}
}

// TestRecordedShared: a change of options reads no recording.
func TestRecordedShared(t *testing.T) {
	var mu sync.Mutex
	read := 0
	h := recordedHost(t, func(s store.Store) store.Store {
		return &hooked{Store: s, read: func(key string) {
			if strings.HasPrefix(key, records.RecordingPrefix) {
				mu.Lock()
				read++
				mu.Unlock()
			}
		}}
	})
	var web seat
	h.seat("web", &web)
	h.run()
	for n := range 50 {
		h.hops("web", 2+n)
	}
	last := h.instance("web")
	eventually(t, "the last change", func() bool { return web.obeys(last) })
	mu.Lock()
	defer mu.Unlock()
	if read > 2 {
		t.Errorf("50 changes of options read the recording %d times", read)
	}
}

// TestRecordedLost: an instance whose recording cannot be read is not served from the table instead:
// what was there stays, and other instances go on.
func TestRecordedLost(t *testing.T) {
	h := recordedHost(t, nil)
	h.create("other")
	var web, other seat
	h.seat("web", &web)
	h.seat("other", &other)
	h.run()
	page, err := h.store.List(t.Context(), store.Range{Prefix: records.RecordingPrefix})
	if err != nil {
		t.Fatal(err)
	}
	in := h.instance("web")
	in.Recorded.ID, in.UserData = "lost", []byte("lost")
	value, err := records.EncodeInstance(in)
	if err != nil {
		t.Fatal(err)
	}
	h.overwrite("web", value)
	eventually(t, "the loss is told", func() bool { return strings.Contains(h.log.String(), "its recording: no such record") })
	if now := web.now(); now.Recording == nil || now.Recording.Source != "first" || string(now.UserData) != "first" {
		t.Errorf("the seat has %+v", now)
	}
	op := h.hops("other", 9)
	eventually(t, "the other instance goes on", func() bool { return h.status(op.ID) == openimds.OperationSucceeded })
	// Damaged in place: a new seat is not filled from it.
	in.Recorded.ID = page.Records[0].Key[len(records.RecordingPrefix+"web/"):]
	if value, err = records.EncodeInstance(in); err != nil {
		t.Fatal(err)
	}
	if _, err := h.store.Commit(t.Context(), store.Change{Key: page.Records[0].Key, Value: []byte("{"), If: store.Whatever}); err != nil {
		t.Fatal(err)
	}
	if err := h.agent.Unseat("web"); err != nil {
		t.Fatal(err)
	}
	h.overwrite("web", value)
	var fresh seat
	h.seat("web", &fresh)
	if fresh.now() != nil {
		t.Errorf("a seat was filled with %+v", fresh.now())
	}
}

// TestRecordedAway: while recordings cannot be read the seat keeps what it has, and comes after when
// they can.
func TestRecordedAway(t *testing.T) {
	var mu sync.Mutex
	away := false
	h := recordedHost(t, func(s store.Store) store.Store {
		return &hooked{Store: s, away: func() (<-chan bool, error) {
			mu.Lock()
			defer mu.Unlock()
			if away {
				return nil, errors.New("away")
			}
			return nil, nil
		}}
	})
	var web seat
	h.seat("web", &web)
	h.run()
	h.hops("web", 2)
	eventually(t, "it runs", func() bool { return web.now().Options.HopLimit == 2 })
	set := func(to bool) { mu.Lock(); away = to; mu.Unlock() }
	set(true)
	h.record("second")
	eventually(t, "the store is away", func() bool { return strings.Contains(h.log.String(), "cannot be followed") })
	if web.now().Recording.Source != "first" {
		t.Error("the seat has what nobody could read")
	}
	set(false)
	eventually(t, "it is back", func() bool { return web.now().Recording.Source == "second" && whole(web.now()) == nil })
	if err := h.agent.Seat(context.Background(), "web", &seat{before: whole}); err != nil {
		t.Error(err)
	}
}
