package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/cloudwatch/wire"
	"github.com/openimds/openimds/client"
)

// badDay is between a client and this project's own APIs of EC2 and CloudWatch: it throttles as each of them does, fails
// now and then, loses answers to what was done, and has CloudWatch's samples told late.
type badDay struct {
	inMemory
	share float64
	late  time.Duration

	mu     sync.Mutex
	random *rand.Rand
}

// RoundTrip is [http.RoundTripper].
func (b *badDay) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(20 * time.Millisecond) // the way there
	metrics := r.Header.Get("X-Amz-Target") != ""
	b.mu.Lock()
	luck, lost := b.random.Float64(), b.random.Float64() < b.share/2
	b.mu.Unlock()
	switch {
	case luck < b.share*0.6 && metrics:
		return answerOf(http.StatusBadRequest, map[string]string{"__type": "ThrottlingException", "message": "Rate exceeded"}), nil
	case luck < b.share*0.6:
		const text = "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Request limit exceeded.</Message></Error></Errors><RequestID>1</RequestID></Response>"
		return &http.Response{StatusCode: http.StatusServiceUnavailable, Body: io.NopCloser(strings.NewReader(text)), Header: http.Header{}}, nil
	case luck < b.share*0.9:
		return &http.Response{StatusCode: http.StatusInternalServerError, Body: io.NopCloser(strings.NewReader("<html>")), Header: http.Header{}}, nil
	case luck < b.share:
		return nil, io.ErrUnexpectedEOF
	}
	resp, err := retold(b.inMemory, r, b.delay)
	if lost {
		return nil, io.ErrUnexpectedEOF // whatever was done, nobody learns of it
	}
	return resp, err
}

// delay takes the samples out of an answer that CloudWatch would not have yet.
func (b *badDay) delay(r *wire.MetricDataResult) {
	for j, at := range r.Timestamps {
		if b.late > 0 && at.Add(openimds.MetricPeriod+b.late).After(time.Now()) {
			r.Timestamps, r.Values = r.Timestamps[:j], r.Values[:j]
			return
		}
	}
}

// ec2 is a provider of the fleet by EC2's API, on a day that is so bad.
func (f *fleet) ec2(share float64, late time.Duration) *EC2 {
	transport := &badDay{inMemory: inMemory{handler: f.handler}, share: share, late: late, random: rand.New(rand.NewPCG(1, 2))}
	return NewEC2(newClientOf(f.t, client.ServiceEC2, transport), newClientOf(f.t, client.ServiceCloudWatch, transport))
}

// id is what EC2 calls an instance.
func (f *fleet) id(name string) string {
	f.t.Helper()
	in, err := f.service.Instance(f.t.Context(), name)
	if err != nil {
		f.t.Fatal(err)
	}
	return in.ID
}

// TestEC2Tells: what EC2 and CloudWatch tell is what Lightsail's API tells, on the worst of days, and what is done by the one
// is seen by the other.
func TestEC2Tells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "web", "api", "quiet")
		ctx := t.Context()
		for range 3 {
			f.guests["web"].call(t, "curl/7.1")
			time.Sleep(7 * time.Minute)
		}
		p, theirs := f.ec2(0.4, 0), f.provider()
		all, err := p.Instances(ctx)
		others, err2 := theirs.Instances(ctx)
		if err != nil || err2 != nil || len(all) != 3 {
			t.Fatalf("%v, %v, %v", all, err, err2)
		}
		for _, other := range others {
			in, err := p.Instance(ctx, refOf(all, f.id(other.Name)))
			if err != nil || in.Options != other.Options || in.State != other.State || !in.CreatedAt.Equal(other.CreatedAt.Truncate(time.Second)) {
				t.Errorf("%+v, %v, not %+v", in, err, other)
			}
			since := time.Now().Add(-15 * time.Minute)
			calls, err := p.Calls(ctx, in, since)
			want, err2 := theirs.Lightsail.Calls(ctx, other, since)
			if err != nil || err2 != nil || calls.NoToken != want.NoToken || *calls.Rejected != 0 || !calls.Since.Equal(want.Since) || calls.Until.Sub(want.Until).Abs() > time.Minute || calls.Missing != want.Missing {
				t.Errorf("%s: %+v, %v; not %+v, %v", other.Name, calls, err, want, err2)
			}
		}
		web := refOf(all, f.id("web"))
		if err := p.SetOptions(ctx, web, Options{Tokens: required, HopLimit: 3}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if status := f.guests["web"].call(t, "curl/7.1"); status != http.StatusUnauthorized {
			t.Errorf("a call without a token: %d", status)
		}
		if got := f.options()["web"]; got.Tokens != required || got.HopLimit != 3 {
			t.Errorf("%+v", got)
		}
		f.delete("web")
		if _, err := p.Instance(ctx, web); !errors.Is(err, ErrGone) {
			t.Errorf("an instance that is gone: %v", err)
		}
		if err := p.SetOptions(ctx, web, Options{Tokens: optional}); !errors.Is(err, ErrGone) {
			t.Errorf("an instance that is gone: %v", err)
		}
		if _, err := p.Calls(ctx, Instance{Ref: web}, time.Now().Add(-time.Hour)); !errors.Is(err, ErrGone) {
			t.Errorf("an instance that is gone: %v", err)
		}
		if all, err := p.Instances(ctx); err != nil || len(all) != 2 {
			t.Errorf("%v, %v", all, err)
		}
	})
}

// refOf is the instance of that name.
func refOf(all []Instance, name string) Ref {
	i := slices.IndexFunc(all, func(in Instance) bool { return in.Name == name })
	return all[i].Ref
}

// TestEC2Migration takes instances to version 2 by EC2's API, throttled and told late: who is refused is brought back, the
// others are required, undone, required again, and then enforced.
func TestEC2Migration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "web", "api", "calls")
		ctx := t.Context()
		p := f.ec2(0.3, 5*time.Minute)
		plan, err := ParsePlan([]byte("plan: 1\nprovider: ec2\ncriteria: {window: 1h, calls: 1000000, gaps: 1h}\nhold: 30m\nwaves: [{name: first, names: [" + f.id("web") + "]}, {name: all, rest: true}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		f.every(4*time.Minute, func() { f.guests["calls"].call(t, "curl/7.1") })
		journal := journalIn(t)
		run, done := aRun(t, p, journal)
		err = run.Apply(ctx, plan)
		done()
		if got := kinds(t, journal, f.id("calls")); !errors.Is(err, ErrStopped) || got != "requiring, required, returning, returned" {
			t.Errorf("%v: %s: %s", err, got, reason(t, journal, f.id("calls")))
		}
		options := f.options()
		if options["web"].Tokens != required || options["api"].Tokens != required || options["calls"].Tokens != optional {
			t.Errorf("%+v", options)
		}
		if err := Enforce(ctx, p, true); err == nil || !strings.Contains(err.Error(), f.id("calls")) {
			t.Errorf("an account with an instance that is open: %v", err)
		}
		run, done = aRun(t, p, journal)
		err = run.Undo(ctx, false)
		done()
		if options := f.options(); err != nil || options["web"].Tokens != optional || options["api"].Tokens != optional {
			t.Errorf("%+v, %v", options, err)
		}
		for _, name := range []string{"web", "api", "calls"} {
			f.set(name, openimds.OptionsUpdate{Tokens: new(openimds.TokensRequired)})
		}
		time.Sleep(time.Second)
		if err := Enforce(ctx, p, true); err != nil {
			t.Fatal(err)
		}
		if all, err := Enforcements(ctx, p); err != nil || len(all) != 1 || !all[0].Enforced || all[0].Default != required || all[0].Open != nil {
			t.Errorf("%+v, %v", all, err)
		}
		if _, err := f.service.UpdateOptions(ctx, "web", openimds.OptionsUpdate{Tokens: new(openimds.TokensOptional)}); err == nil {
			t.Error("somebody turned IMDSv1 on again")
		}
		if err := Enforce(ctx, p, false); err != nil {
			t.Fatal(err)
		}
		f.set("web", openimds.OptionsUpdate{Tokens: new(openimds.TokensOptional)})
		if err := Enforce(ctx, f.provider(), true); !errors.Is(err, ErrNoEnforcement) {
			t.Errorf("Lightsail: %v", err)
		}
	})
}

// killedOnce has CloudWatch say of answered calls what it says after a server was killed: one period is left out, and it is
// told that not all is known.
type killedOnce struct {
	http.RoundTripper
	since time.Time
}

func (k killedOnce) RoundTrip(r *http.Request) (*http.Response, error) {
	return retold(k.RoundTripper, r, func(one *wire.MetricDataResult) {
		if one.Label == openimds.MetricNoToken {
			one.StatusCode, one.Messages = "PartialData", []wire.MessageData{{Code: "PartialData", Value: "not all is known"}}
			at := slices.IndexFunc(one.Timestamps, func(at awsjson.Epoch) bool { return !at.Before(k.since) })
			one.Timestamps, one.Values = slices.Delete(one.Timestamps, at, at+1), slices.Delete(one.Values, at, at+1)
		}
	})
}

// retold has what CloudWatch answers changed on the way.
func retold(by http.RoundTripper, r *http.Request, change func(*wire.MetricDataResult)) (*http.Response, error) {
	resp, err := by.RoundTrip(r)
	if err != nil || r.Header.Get("X-Amz-Target") == "" || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	var result wire.GetMetricDataResult
	if err := json.NewDecoder(resp.Body).Decode(&result); err != nil {
		return nil, err
	}
	for i := range result.MetricDataResults {
		change(&result.MetricDataResults[i])
	}
	text, err := awsjson.Marshal(result)
	resp.Body = io.NopCloser(bytes.NewReader(text))
	return resp, err
}

// TestEC2PartialData: what CloudWatch does not know of one metric is not known, though it has a sample of the other.
func TestEC2PartialData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "web")
		ctx := t.Context()
		time.Sleep(time.Hour)
		since := time.Now().Add(-50 * time.Minute)
		whole := f.ec2(0, 0)
		all, err := whole.Instances(ctx)
		if err != nil {
			t.Fatal(err)
		}
		calls, err := whole.Calls(ctx, all[0], since)
		if err != nil || calls.Missing != 0 {
			t.Fatalf("%+v, %v", calls, err)
		}
		killed := NewEC2(whole.api, newClientOf(t, client.ServiceCloudWatch, killedOnce{inMemory{handler: f.handler}, since.Add(20 * time.Minute)}))
		calls, err = killed.Calls(ctx, all[0], since)
		if err != nil || calls.Missing < openimds.MetricPeriod {
			t.Errorf("%+v, %v", calls, err)
		}
	})
}
