package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// regions are providers of the same kind, one for each region.
type regions struct {
	of map[string]Provider
	in []string
}

// InRegions makes one provider of several, each with one region of its own.
func InRegions(providers ...Provider) Provider {
	if len(providers) == 1 {
		return providers[0]
	}
	all := regions{of: map[string]Provider{}}
	for _, p := range providers {
		for _, region := range p.Regions() {
			all.of[region] = p
			all.in = append(all.in, region)
		}
	}
	slices.Sort(all.in)
	return all
}

func (a regions) Name() string      { return a.of[a.in[0]].Name() }
func (a regions) Regions() []string { return a.in }

// Instances asks all regions at once; of one that does not answer nothing is left out in silence.
func (a regions) Instances(ctx context.Context) ([]Instance, error) {
	found, failures := make([][]Instance, len(a.in)), make([]error, len(a.in))
	var asking sync.WaitGroup
	for i, region := range a.in {
		asking.Go(func() { found[i], failures[i] = a.of[region].Instances(ctx) })
	}
	asking.Wait()
	return slices.Concat(found...), errors.Join(failures...)
}

// home is the provider of an instance's region.
func (a regions) home(of Ref) (Provider, error) {
	if p := a.of[of.Region]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("the region %s is none of those that are asked; name it with --region, or all with --all-regions", of.Region)
}

func (a regions) Instance(ctx context.Context, of Ref) (Instance, error) {
	p, err := a.home(of)
	if err != nil {
		return Instance{}, err
	}
	return p.Instance(ctx, of)
}

func (a regions) Calls(ctx context.Context, of Instance, since time.Time) (Calls, error) {
	p, err := a.home(of.Ref)
	if err != nil {
		return Calls{}, err
	}
	return p.Calls(ctx, of, since)
}

func (a regions) SetOptions(ctx context.Context, of Ref, to Options) error {
	p, err := a.home(of)
	if err != nil {
		return err
	}
	return p.SetOptions(ctx, of, to)
}

func (a regions) Watch() Watch {
	w := &regionsWatch{of: a, watches: map[string]Watch{}, told: map[string]told{}}
	for region, p := range a.of {
		w.watches[region] = p.Watch()
		w.told[region] = told{region: region}
	}
	w.news = make(chan told, len(w.watches))
	return w
}

// regionsWatch looks in all regions at once, each in its own time: one that does not answer holds back what another one
// tells no longer than it takes to say up to when all is known.
type regionsWatch struct {
	of      regions
	watches map[string]Watch
	begin   sync.Once
	news    chan told
	told    map[string]told // the latest of each region
}

// told is what one look in a region has brought.
type told struct {
	region  string
	refused []Refusal
	until   time.Time
	err     error
}

func (w *regionsWatch) Add(ctx context.Context, of Ref, since time.Time) (time.Time, error) {
	if _, err := w.of.home(of); err != nil {
		return time.Time{}, err
	}
	return w.watches[of.Region].Add(ctx, of, since)
}

func (w *regionsWatch) Remove(of Ref) {
	if watch := w.watches[of.Region]; watch != nil {
		watch.Remove(of)
	}
}

// Next is [Watch]. All calls have contexts that end together.
func (w *regionsWatch) Next(ctx context.Context) ([]Refusal, time.Time, error) {
	w.begin.Do(func() {
		for region, watch := range w.watches {
			go func() {
				for ctx.Err() == nil {
					refused, until, err := watch.Next(ctx)
					select {
					case w.news <- told{region, refused, until, err}:
					case <-ctx.Done():
						return
					}
				}
			}()
		}
	})
	var news told
	select {
	case news = <-w.news:
	case <-ctx.Done():
		return nil, time.Time{}, ctx.Err()
	}
	w.told[news.region] = news
	var failures []error
	least := news.until
	for _, t := range w.told {
		failures = append(failures, t.err)
		if t.until.Before(least) { // the zero time, where nothing was told yet
			least = t.until
		}
	}
	return news.refused, least, errors.Join(failures...)
}
