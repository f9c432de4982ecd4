package guestside_test

import (
	"context"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/guestside"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// awaitFaults waits until the record's faults are as they should be.
func (p *place) awaitFaults(what string, are func(*openimds.Faults) bool) {
	p.t.Helper()
	ctx, done := context.WithTimeout(p.t.Context(), patience)
	defer done()
	const key = records.InstancePrefix + "web"
	page, err := p.store.List(ctx, store.Range{Prefix: key, Limit: 1})
	if err != nil {
		p.t.Fatal(err)
	}
	now, watch := page.Records[0], p.store.Watch(key, page.Revision)
	for {
		in, err := records.DecodeInstance(now)
		if err != nil {
			p.t.Fatal(err)
		}
		if are(in.Faults) {
			return
		}
		changes, err := watch.Next(ctx)
		if err != nil {
			p.t.Fatalf("waiting until %s: the faults are %v: %v", what, in.Faults, err)
		}
		now = changes[len(changes)-1]
	}
}

func (p *place) faults(u control.FaultsUpdate) {
	p.t.Helper()
	if _, err := p.service.UpdateFaults(p.t.Context(), "web", u); err != nil {
		p.t.Fatal(err)
	}
	p.settle()
}

// beside is another process on the same store, which serves the same instance.
func (p *place) beside() (other *place, end func()) {
	p.t.Helper()
	other = &place{t: p.t, store: p.store, keeper: &keeper{}, service: p.service}
	other.side = guestside.New(guestside.Config{Store: p.store, Marker: p.service, Faults: p.service, Credentials: other.keeper, Signer: other.keeper})
	if err := other.side.Seat(p.t.Context(), "web"); err != nil {
		p.t.Fatal(err)
	}
	listeners, err := imds.Listen(p.t.Context(), "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	other.url = "http://" + listeners[0].Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { other.side.Run(ctx); close(ended) }()
	go other.serve(listeners[0])
	return other, func() {
		if err := other.side.Shutdown(context.Background()); err != nil {
			p.t.Error(err)
		}
		cancel()
		<-ended
	}
}

func failed(p *place, requests int) (n int) {
	p.t.Helper()
	for range requests {
		if status, _ := p.get("meta-data/ami-id"); status == 500 {
			n++
		}
	}
	return n
}

// Faults with an end by time are gone from the record soon after it, with or without requests.
func TestFaultsEndByTime(t *testing.T) {
	p := newPlace(t)
	p.run()
	p.faults(control.FaultsUpdate{Status: new(500), ForMillis: new(150)})
	p.awaitFaults("their time is over", func(f *openimds.Faults) bool { return f == nil })
	p.settle()
	if n := failed(p, 1); n != 0 {
		t.Error("they are over, and a request fails")
	}
	// Those that ended while nobody served the instance are taken from the record when somebody does.
	q := newPlace(t)
	if _, err := q.service.UpdateFaults(t.Context(), "web", control.FaultsUpdate{Status: new(500), ForMillis: new(1)}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Millisecond)
	q.run()
	q.awaitFaults("their time is over", func(f *openimds.Faults) bool { return f == nil })
	// Those of a clock that was ahead do not stay until it would be there.
	ahead := control.New(q.store, control.Config{Region: "us-east-1", AccountID: "123456789012", Now: func() time.Time { return time.Now().Add(26 * time.Hour) }})
	if _, err := ahead.UpdateFaults(t.Context(), "web", control.FaultsUpdate{Status: new(500), ForMillis: new(60_000)}); err != nil {
		t.Fatal(err)
	}
	q.awaitFaults("the clock was turned back", func(f *openimds.Faults) bool { return f == nil })
	q.settle()
	if n := failed(q, 1); n != 0 {
		t.Error("the clock was turned back behind their beginning, and a request fails")
	}
}

// Faults end after so many requests, in all processes together, and over restarts.
func TestFaultsEndByNumber(t *testing.T) {
	p := newPlace(t)
	p.run()
	p.faults(control.FaultsUpdate{Status: new(500), Count: new(10)})
	if n := failed(p, 3); n != 3 {
		t.Fatalf("%d of 3 failed", n)
	}
	p.awaitFaults("3 are known", func(f *openimds.Faults) bool { return f != nil && f.Met == 3 })
	other, end := p.beside()
	if n := failed(other, 4); n != 4 {
		t.Errorf("of 4 beside, %d failed", n)
	}
	end() // it tells of those that it has not told of
	p.awaitFaults("7 are known", func(f *openimds.Faults) bool { return f != nil && f.Met == 7 })
	p.settle()
	third, end := p.beside()
	if n := failed(third, 2); n != 2 {
		t.Errorf("of 2 after a restart, %d failed", n)
	}
	p.awaitFaults("9 are known", func(f *openimds.Faults) bool { return f != nil && f.Met == 9 })
	p.settle()
	if n := failed(p, 5); n != 1 {
		t.Errorf("of the last 5, %d failed, want 1", n)
	}
	p.awaitFaults("they are over", func(f *openimds.Faults) bool { return f == nil })
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	if err := third.side.Settle(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	if n := failed(third, 3); n != 0 {
		t.Errorf("they are over, and %d fail beside", n)
	}
	end()
	in, err := p.service.Instance(t.Context(), "web")
	if err != nil || in.Faults != nil || time.Since(in.ModifiedAt) > time.Hour {
		t.Errorf("in the end: %+v, %v", in, err)
	}
}
