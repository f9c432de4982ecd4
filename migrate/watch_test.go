package migrate

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/cloudwatch/wire"
	"github.com/openimds/openimds/client"
)

// eitherMetric has samples as AWS has them: of answered calls in the periods in which tokens were optional, of refused
// ones from the period on in which they were required.
type eitherMetric struct {
	http.RoundTripper
	required time.Time
}

func (e eitherMetric) RoundTrip(r *http.Request) (*http.Response, error) {
	return retold(e.RoundTripper, r, func(one *wire.MetricDataResult) {
		kept := 0
		for i, at := range one.Timestamps {
			ends := at.Add(openimds.MetricPeriod)
			if there := ends.After(e.required); there == (one.Label == openimds.MetricNoTokenRejected) {
				one.Timestamps[kept], one.Values[kept] = at, one.Values[i]
				kept++
			}
		}
		one.Timestamps, one.Values = one.Timestamps[:kept], one.Values[:kept]
	})
}

// TestEC2HoldsInTheNextPeriod: all refusals are known though a change was asked for at the end of a period and held from
// the next one on, of which alone there are samples of refused calls.
func TestEC2HoldsInTheNextPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "web")
		time.Sleep(time.Until(time.Now().Truncate(openimds.MetricPeriod).Add(time.Hour - time.Second)))
		asked := time.Now()
		transport := eitherMetric{inMemory{handler: f.handler}, asked.Add(2 * time.Second)}
		p := NewEC2(newClientOf(t, client.ServiceEC2, transport), newClientOf(t, client.ServiceCloudWatch, transport))
		all, err := p.Instances(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w := p.Watch()
		if _, err := w.Add(t.Context(), refOf(all, f.id("web")), time.Time{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Minute)
		_, until, err := w.Next(t.Context())
		if err != nil || until.Before(asked.Add(30*time.Minute)) {
			t.Errorf("known for %v, %v", until.Sub(asked), err)
		}
	})
}

// TestRefusedBesideADeafRegion: who is refused in one region is told though another one does not answer, and then nothing
// is said to be all that there is.
func TestRefusedBesideADeafRegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		heard := make(chan []Refusal)
		w := regions{of: map[string]Provider{"a": toldBy{heard: heard}, "b": toldBy{}}}.Watch()
		refused := Refusal{Instance: Ref{Region: "a", Name: "web"}}
		go func() {
			heard <- []Refusal{refused}
			heard <- nil
		}()
		for round := range 2 {
			told, until, err := w.Next(ctx)
			if err != nil || !until.IsZero() || (len(told) == 1) != (round == 0) {
				t.Errorf("round %d: %v, %v, %v", round, told, until, err)
			}
		}
		cancel()
		if _, _, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("at the end: %v", err)
		}
	})
}

// toldBy is a provider whose watch tells what it is given; without a channel, nothing ever.
type toldBy struct {
	Provider
	heard chan []Refusal
}

func (w toldBy) Watch() Watch { return toldWatch{heard: w.heard} }

type toldWatch struct {
	Watch
	heard chan []Refusal
}

func (w toldWatch) Next(ctx context.Context) ([]Refusal, time.Time, error) {
	select {
	case refused := <-w.heard:
		return refused, time.Now(), nil
	case <-ctx.Done():
		return nil, time.Time{}, ctx.Err()
	}
}
