// Package report writes down how far instances are on their way from IMDSv1 to v2, for a person who signs off
// on it: as one HTML file that needs nothing else, and as JSON. What is not known stands there as unknown.
package report

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/advice"
	"github.com/openimds/openimds/migrate"
)

// Report is what is written down, at one time.
type Report struct {
	// Format is that of the JSON: 1.
	Format   int       `json:"format"`
	At       time.Time `json:"at"`
	Provider string    `json:"provider"`
	Regions  []string  `json:"regions"`
	// Installation is the one that signs; nil: nobody does.
	Installation *Installation  `json:"installation,omitempty"`
	Criteria     Criteria       `json:"criteria"`
	Totals       map[string]int `json:"totals"` // instances, by verdict
	Exceptions   []Exception    `json:"exceptions"`
	Plan         string         `json:"plan,omitempty"` // the file that has them
	Steps        []Step         `json:"steps"`          // of the plan's journal
	Instances    []Instance     `json:"instances"`
}

// Installation is an openimds server.
type Installation struct {
	Region    string `json:"region"`
	AccountID string `json:"accountId"`
	Version   string `json:"version"`
	// Key is the fingerprint of the key that signs its reports.
	Key string `json:"key"`
}

// Criteria say what makes an instance ready; times are in seconds.
type Criteria struct {
	WindowSeconds int64 `json:"windowSeconds"`
	GapsSeconds   int64 `json:"gapsSeconds"`
	Calls         int64 `json:"calls"`
	Reboots       int   `json:"reboots"`
	MonthEnds     int   `json:"monthEnds"`
}

// Exception is one of a plan.
type Exception struct {
	Instances []string  `json:"instances,omitempty"`
	Tags      []string  `json:"tags,omitempty"`
	UserAgent string    `json:"userAgent,omitempty"`
	Source    string    `json:"source,omitempty"`
	Owner     string    `json:"owner"`
	Reason    string    `json:"reason,omitempty"`
	Until     time.Time `json:"until"`
	Ended     bool      `json:"ended"`
}

// Step is a line of a plan's journal.
type Step struct {
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"`
	By       string    `json:"by,omitempty"`
	Wave     string    `json:"wave,omitempty"`
	Instance string    `json:"instance,omitempty"`
	Reason   string    `json:"reason,omitempty"`
}

// Instance is what is known of one.
type Instance struct {
	Region    string          `json:"region"`
	Name      string          `json:"name"`
	ID        string          `json:"id"`
	State     string          `json:"state"`
	Blueprint string          `json:"blueprint,omitempty"`
	CreatedAt time.Time       `json:"createdAt"`
	Options   migrate.Options `json:"options"`
	// Pending says that the serving side does not obey the options yet.
	Pending bool            `json:"pending"`
	Verdict migrate.Verdict `json:"verdict"`
	Reason  string          `json:"reason"`
	// Window is the time that is known; nil: nothing is.
	Window *Window `json:"window"`
	Calls  Calls   `json:"calls"`
	// Callers are those that came without a token in the window, or whom one did not reach; nil: not known.
	Callers []Caller `json:"callers"`
	// V2Callers is how many others there are; nil: not known.
	V2Callers *int `json:"v2Callers"`
	// History are the changes of the options; nil: not known.
	History *History `json:"history"`
	// Rehearsal is the latest one; nil: there was none, or that is not known.
	Rehearsal *openimds.Rehearsal `json:"rehearsal,omitempty"`
	// Exceptions are the places of those that are for it, in the list of all.
	Exceptions []int `json:"exceptions,omitempty"`
	// Unknown says in words what is not known.
	Unknown []string `json:"unknown,omitempty"`
}

// Window is a time of which calls are known.
type Window struct {
	Since          time.Time      `json:"since"`
	Until          time.Time      `json:"until"`
	MissingSeconds int64          `json:"missingSeconds"`
	Cycles         migrate.Cycles `json:"cycles"`
}

// Calls are numbers in the window; nil is not known.
type Calls struct {
	V1             *int64 `json:"v1"`
	V2             *int64 `json:"v2"`
	Rejected       *int64 `json:"rejected"`
	WouldBeRefused *int64 `json:"wouldBeRefused"`
	TokensLost     *int64 `json:"tokensLost"`
}

// The states of a caller.
const (
	StateOpen     = "open"      // calls without a token
	StateHopLimit = "hop limit" // its token does not reach it
	StateFixed    = "fixed"     // has called with a token since, for a day and for its period at least
	StateSilent   = "silent"    // has not called any more, for longer than its period
)

// Caller is who came without a token, with all parts of the tree that it asked for.
type Caller struct {
	Source     string    `json:"source"`
	UserAgent  string    `json:"userAgent"`
	Process    string    `json:"process,omitempty"`
	PathGroups []string  `json:"pathGroups"`
	State      string    `json:"state"`
	Period     string    `json:"period,omitempty"`
	V1         int64     `json:"v1"`
	Rejected   int64     `json:"rejected"`
	V2         int64     `json:"v2"`
	FirstV1    time.Time `json:"firstV1,omitzero"`
	LastV1     time.Time `json:"lastV1,omitzero"`
	LastSeen   time.Time `json:"lastSeen"`
	// Advice is what there is to do; none is left of who is fixed.
	Advice []advice.Advice `json:"advice,omitempty"`
}

// History has changes, the earliest first.
type History struct {
	Changes []Change `json:"changes"`
	// KnownSince is when the log begins that they are from; zero: there is none. Complete says that it begins
	// before the instance does.
	KnownSince time.Time `json:"knownSince,omitzero"`
	Complete   bool      `json:"complete"`
}

// Change is one change of options or of a rehearsal.
type Change struct {
	Time time.Time `json:"time"`
	Who  string    `json:"who"`
	// What was done, in words.
	What string `json:"what"`
}

// Details are what only some services tell of an instance; nil members are not known.
type Details struct {
	V2, WouldBeRefused, TokensLost *int64
	Callers                        []Caller
	V2Callers                      *int
	History                        *History
	Rehearsal                      *openimds.Rehearsal
}

// Source tells them. An error leaves what it returns beside it, and is one more thing that is not known.
type Source interface {
	Details(ctx context.Context, in migrate.Instance, since, now time.Time) (Details, error)
}

// InRegions are the sources of several regions, by their names.
type InRegions map[string]Source

// Details is [Source].
func (s InRegions) Details(ctx context.Context, in migrate.Instance, since, now time.Time) (Details, error) {
	of, ok := s[in.Region]
	if !ok {
		return Details{}, fmt.Errorf("nobody was asked of the region %s", in.Region)
	}
	return of.Details(ctx, in, since, now)
}

// Input is what a report is made of.
type Input struct {
	Provider     migrate.Provider
	Source       Source // nil: nobody tells
	Installation *Installation
	Instances    []migrate.Instance
	Criteria     migrate.Criteria
	Plan         *migrate.Plan // nil: none
	PlanFile     string
	Journal      []migrate.Record
	Now          time.Time
}

// atOnce is how many instances are looked at at the same time, and together how many are judged before the next ones are:
// so a report of any number of them takes no more memory than these, where whoever asks keeps none.
const (
	atOnce   = 8
	together = 500
)

// Make looks at the instances and writes down what it finds.
func Make(ctx context.Context, in Input) (*Report, error) {
	r := Begin(in)
	r.Instances = make([]Instance, 0, len(in.Instances))
	err := in.Each(ctx, r, func(one Instance) error {
		r.Instances = append(r.Instances, one)
		return nil
	})
	return r, err
}

// Begin is a report without instances.
func Begin(in Input) *Report {
	r := &Report{
		Format: 1, At: in.Now.UTC().Truncate(time.Second), Provider: in.Provider.Name(), Regions: in.Provider.Regions(), Installation: in.Installation,
		Criteria: Criteria{
			WindowSeconds: int64(in.Criteria.Window / time.Second), GapsSeconds: int64(in.Criteria.Gaps / time.Second), Calls: in.Criteria.Calls,
			Reboots: in.Criteria.Reboots, MonthEnds: in.Criteria.MonthEnds,
		},
		Totals:     map[string]int{string(migrate.Done): 0, string(migrate.Ready): 0, string(migrate.NotYet): 0, string(migrate.Unknown): 0},
		Exceptions: exceptionsOf(in.Plan, in.Now), Plan: in.PlanFile, Steps: stepsOf(in.Journal), Instances: []Instance{},
	}
	onLines(reflect.ValueOf(r))
	return r
}

// Each looks at the instances, counts each in the report's totals, and passes it on, in their order. An error of pass ends it.
func (in Input) Each(ctx context.Context, r *Report, pass func(Instance) error) error {
	for part := range slices.Chunk(in.Instances, together) {
		found := make([]Instance, len(part))
		var working sync.WaitGroup
		turns := make(chan struct{}, atOnce)
		for i, one := range migrate.Status(ctx, in.Provider, part, in.Criteria, in.Now) {
			turns <- struct{}{}
			working.Go(func() {
				found[i] = in.instance(ctx, one)
				<-turns
			})
		}
		working.Wait()
		if err := ctx.Err(); err != nil {
			return err
		}
		for i := range found {
			if in.Plan != nil {
				found[i].Exceptions = in.exceptionsFor(part[i])
			}
			onLines(reflect.ValueOf(&found[i]))
			r.Totals[string(found[i].Verdict)]++
			if err := pass(found[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func exceptionsOf(p *migrate.Plan, now time.Time) []Exception {
	all := []Exception{}
	if p == nil {
		return all
	}
	for _, e := range p.Exceptions {
		all = append(all, Exception{
			Instances: e.Names, Tags: e.Tags, UserAgent: e.UserAgent, Source: e.Source, Owner: e.Owner, Reason: e.Reason,
			Until: e.Until, Ended: !now.Before(e.Until),
		})
	}
	return all
}

func (in Input) exceptionsFor(one migrate.Instance) (places []int) {
	for i, e := range in.Plan.Exceptions {
		if e.Has(one) {
			places = append(places, i+1)
		}
	}
	return places
}

func stepsOf(journal []migrate.Record) []Step {
	steps := []Step{}
	for _, r := range journal {
		s := Step{Time: r.Time.UTC(), Kind: string(r.Kind), By: r.By, Wave: r.Wave, Reason: r.Reason}
		if r.Instance != nil {
			s.Instance = r.Instance.String()
		}
		steps = append(steps, s)
	}
	return steps
}
