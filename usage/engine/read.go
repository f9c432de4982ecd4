package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/usage/history"
)

const (
	// askTimeout is how long the engine may take for one question, and silentTime how long one that took longer is not
	// asked again: who asks for many instances would wait for each.
	askTimeout = 10 * time.Second
	silentTime = 2 * time.Second
	// againTime is how long an engine is left alone that failed a question, before it is asked once more.
	againTime = 200 * time.Millisecond
	// maxAnswer is the most that one answer may have.
	maxAnswer = 256 << 20
	// oncePeriods is how many periods one question is of: Prometheus answers at most 11,000 points of a series.
	oncePeriods = 10_000
	// tellingTakes is how long a writer may take to tell of a period that it takes for closed, before it is taken for one
	// that has told some and then no more. Alarms look later.
	tellingTakes = 15 * time.Second
)

// ReaderConfig is what a [Reader] works with.
type ReaderConfig struct {
	// URL is that of a PromQL API, before /api/v1.
	URL    string
	Access Access
	// Installation is whose series are read.
	Installation string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Reader reads what writers told an engine. It is safe for use by many goroutines.
type Reader struct {
	cfg    ReaderConfig
	caller *caller

	mu     sync.Mutex
	silent time.Time // until when the engine is taken for one that does not answer
}

var _ history.Others = (*Reader)(nil)

// NewReader makes a reader.
func NewReader(cfg ReaderConfig) (*Reader, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	caller, err := cfg.Access.caller()
	return &Reader{cfg: cfg, caller: caller}, err
}

// Samples implements [history.Others].
func (r *Reader) Samples(ctx context.Context, instanceID string, from, until int64, pass func(writer string, number int64, c history.Counts)) error {
	type sample struct {
		writer string
		number int64
	}
	type word struct {
		history.Counts
		watched uint64
	}
	query := r.largest("{__name__=~" + strconv.Quote(Calls+"|"+Watched) + "," + r.ours() + ",instance_id=" + strconv.Quote(instanceID) + "}")
	settled := r.settled()
	for ; from < until; from += oncePeriods {
		words := map[sample]word{}
		err := r.askPeriods(ctx, query, from, min(from+oncePeriods, until), func(s *series, number int64, value uint64) {
			key := sample{s.Metric.Writer, number}
			w := words[key]
			if s.Metric.Metric == "" {
				w.watched = max(w.watched, value)
			} else if m := slices.Index(countNames, s.Metric.Metric); m >= 0 { // else a later version counts it
				w.Counts[m] = max(w.Counts[m], value) // two series differ in their host alone where a host was renamed
			}
			words[key] = w
		})
		if err != nil {
			return err
		}
		for s, w := range words {
			pass(s.writer, s.number, known(w.Counts, w.watched, s.number < settled))
		}
	}
	return nil
}

// onceIDs is how many instances one question names.
const onceIDs = 200

// Runs implements [history.Others]. Mostly the instances were there all the time, and few were called: the engine is asked
// whether all periods of each are closed, which ones only where some are not, and for the counts, which are not zero. It is
// the periods' words that are added up, not the values: an engine may keep one that it was told twice as two.
func (r *Reader) Runs(ctx context.Context, but string, from, until int64, pass func(writer, instanceID string, first, end int64, c history.Counts)) error {
	if until = min(until, sampleNumber(r.cfg.Now())+1); until <= from {
		return nil
	}
	a := &runsAsked{r: r, others: r.ours() + ",writer!=" + strconv.Quote(but), from: from, until: until, settled: min(max(r.settled(), from), until), all: map[runsOf]*instanceRuns{}}
	for _, ask := range []func(context.Context) error{a.whole, a.open, a.parts, a.counts} { // what is closed is before its counts
		if err := ask(ctx); err != nil {
			return err
		}
	}
	for of, one := range a.all {
		one.pass(from, until, a.settled, func(first, end int64, c history.Counts) { pass(of.writer, of.id, first, end, c) })
	}
	return nil
}

// runsOf is an instance as a writer has it.
type runsOf struct{ id, writer string }

// runsAsked is what is known by then of what [Reader.Runs] is asked.
type runsAsked struct {
	r                    *Reader
	others               string // selects their series
	from, until, settled int64
	all                  map[runsOf]*instanceRuns
}

func (a *runsAsked) of(s *series) *instanceRuns {
	of := runsOf{s.Metric.InstanceID, s.Metric.Writer}
	one := a.all[of]
	if one == nil {
		one = &instanceRuns{words: make([]uint64, a.until-a.from), counts: map[int64]history.Counts{}}
		a.all[of] = one
	}
	return one
}

// whole asks of which instances all periods are closed.
func (a *runsAsked) whole(ctx context.Context) error {
	periods := a.settled - a.from
	if periods == 0 {
		return nil
	}
	// Engines differ in whether a range has its beginning.
	query := fmt.Sprintf("sum_over_time((%s)[%ds:%ds])", a.r.largest(Watched+"{"+a.others+"}"), periods*sampleSeconds-1, sampleSeconds)
	return a.r.ask(ctx, "query", url.Values{"query": {query}, "time": {strconv.FormatInt(a.settled*sampleSeconds, 10)}}, func(s *series) error {
		_, n, err := readValue(s.Value)
		if one := a.of(s); err == nil && n == uint64(periods)*isClosed {
			for at := range periods {
				one.words[at] = isClosed
			}
			one.whole = true
		}
		return err
	})
}

// open asks for the periods that need not be closed yet.
func (a *runsAsked) open(ctx context.Context) error {
	if a.settled == a.until {
		return nil
	}
	return a.r.askPeriods(ctx, a.r.largest(Watched+"{"+a.others+"}"), a.settled, a.until, a.note)
}

// parts asks for the periods of the instances of which some are not closed, or not there.
func (a *runsAsked) parts(ctx context.Context) error {
	if a.settled == a.from {
		return nil
	}
	ids := map[string]bool{}
	for of, one := range a.all {
		if !one.whole {
			ids[regexp.QuoteMeta(of.id)] = true
		}
	}
	for some := range slices.Chunk(slices.Sorted(maps.Keys(ids)), onceIDs) {
		query := a.r.largest(Watched + "{" + a.others + ",instance_id=~" + strconv.Quote(strings.Join(some, "|")) + "}")
		if err := a.r.askPeriods(ctx, query, a.from, a.settled, a.note); err != nil {
			return err
		}
	}
	return nil
}

func (a *runsAsked) note(s *series, number int64, word uint64) {
	one := a.of(s)
	one.words[number-a.from] = max(one.words[number-a.from], word) // as in Samples
}

func (a *runsAsked) counts(ctx context.Context) error {
	return a.r.askPeriods(ctx, a.r.largest(Calls+"{"+a.others+"}"), a.from, a.until, func(s *series, number int64, value uint64) {
		if m := slices.Index(countNames, s.Metric.Metric); m >= 0 {
			one := a.of(s)
			c := one.counts[number]
			c[m] = max(c[m], value)
			one.counts[number] = c
		}
	})
}

// settled is the number before which all periods are closed of which the engine has been told all. Those behind it are told
// as they are so far.
func (r *Reader) settled() int64 { return sampleNumber(r.cfg.Now().Add(-closedAfter - tellingTakes)) }

// instanceRuns is what a writer told of an instance's samples.
type instanceRuns struct {
	whole  bool     // all of those that are settled are closed
	words  []uint64 // the largest value of Watched of each
	counts map[int64]history.Counts
}

// pass passes the samples on as runs of equal ones.
func (i *instanceRuns) pass(from, until, settled int64, pass func(first, end int64, c history.Counts)) {
	at := func(n int64) (history.Counts, bool) {
		c, counted := i.counts[n]
		word := i.words[n-from]
		if !counted && word == 0 {
			return c, false
		}
		return known(c, word, n < settled), true
	}
	for n := from; n < until; {
		end := n + 1
		if c, there := at(n); there {
			for ; end < until; end++ {
				if next, there := at(end); !there || next != c {
					break
				}
			}
			pass(n, end, c)
		}
		n = end
	}
}

// known are the counts of a sample of which that is the largest value of Watched: of one that is not closed though it should
// be, its writer has told some, and then no more.
func known(c history.Counts, word uint64, settled bool) history.Counts {
	if settled && word < isClosed {
		c[incomplete] = max(c[incomplete], 1)
	}
	return c
}

// ours selects the series of the installation.
func (r *Reader) ours() string { return "installation=" + strconv.Quote(r.cfg.Installation) }

// largest is a query for the largest value of each of those series in a period, at its end.
func (r *Reader) largest(selector string) string { return "max_over_time(" + selector + "[5m])" }

// series is one of an answer: its labels, and its value, or values, as pairs of Unix seconds and a number in quotes.
type series struct {
	Metric struct {
		InstanceID string `json:"instance_id"`
		Metric     string `json:"metric"`
		Writer     string `json:"writer"`
	} `json:"metric"`
	Value  [2]json.Number   `json:"value"`
	Values [][2]json.Number `json:"values"`
}

// askPeriods passes on what a query comes to at the end of each period from one number on up to before another.
func (r *Reader) askPeriods(ctx context.Context, query string, from, until int64, pass func(s *series, number int64, value uint64)) error {
	return r.ask(ctx, "query_range", url.Values{
		"query": {query}, "step": {strconv.FormatInt(sampleSeconds, 10)},
		"start": {strconv.FormatInt((from+1)*sampleSeconds, 10)}, "end": {strconv.FormatInt(until*sampleSeconds, 10)},
	}, func(s *series) error {
		for _, v := range s.Values {
			at, value, err := readValue(v)
			if err != nil {
				return err
			}
			end := int64(at)
			if float64(end) != at || end%sampleSeconds != 0 {
				return fmt.Errorf("it answers of %v, which is not the end of a period", at)
			}
			if number := end/sampleSeconds - 1; number >= from && number < until {
				pass(s, number, value)
			}
		}
		return nil
	})
}

// ask passes on the series that a question is answered with.
func (r *Reader) ask(ctx context.Context, question string, form url.Values, pass func(s *series) error) error {
	r.mu.Lock()
	silent := r.cfg.Now().Before(r.silent)
	r.mu.Unlock()
	if silent {
		return openimds.ErrEngineAway
	}
	bounded, done := context.WithTimeout(ctx, askTimeout)
	defer done()
	all, err := r.answer(bounded, question, form)
	// Prometheus fails a question now and then that meets it while it puts its blocks in order.
	if _, ok := errors.AsType[*statusError](err); ok && wait(bounded, againTime) {
		all, err = r.answer(bounded, question, form)
	}
	for i := 0; err == nil && i < len(all); i++ {
		err = pass(&all[i])
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	if errors.Is(bounded.Err(), context.DeadlineExceeded) {
		r.mu.Lock()
		r.silent = r.cfg.Now().Add(silentTime)
		r.mu.Unlock()
	}
	return fmt.Errorf("%w: %w", openimds.ErrEngineAway, err)
}

// answer asks the engine and reads what it says.
func (r *Reader) answer(ctx context.Context, question string, form url.Values) ([]series, error) {
	form.Set("nocache", "1") // VictoriaMetrics keeps answers, which what comes late would not change
	body, err := r.caller.post(ctx, strings.TrimSuffix(r.cfg.URL, "/")+"/api/v1/"+question, http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Cache-Control": {"no-store"}, // for Mimir
	}, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	var answer struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		// What is wrong with an answer that is given all the same: Thanos and Prometheus in words, VictoriaMetrics by a mark.
		Warnings  []string `json:"warnings"`
		IsPartial bool     `json:"isPartial"`
		Data      struct {
			ResultType string   `json:"resultType"`
			Result     []series `json:"result"`
		} `json:"data"`
	}
	limited := &io.LimitedReader{R: body, N: maxAnswer}
	if err := json.NewDecoder(limited).Decode(&answer); err != nil {
		if limited.N <= 0 {
			err = fmt.Errorf("its answer has more than %d MiB", maxAnswer>>20)
		}
		return nil, err
	}
	switch {
	case answer.Status != "success":
		return nil, fmt.Errorf("it says %.*q", maxSaid, answer.Error)
	case len(answer.Warnings) > 0:
		return nil, fmt.Errorf("its answer may not be whole: %.*q", maxSaid, answer.Warnings[0])
	case answer.IsPartial:
		return nil, errors.New("a part of what it has is away")
	case answer.Data.ResultType != "matrix" && (answer.Data.ResultType != "vector" || question != "query"):
		return nil, fmt.Errorf("it answers with a %.20q", answer.Data.ResultType)
	}
	return answer.Data.Result, nil
}

// readValue reads one value, which is a count, and its time in Unix seconds.
func readValue(v [2]json.Number) (at float64, value uint64, err error) {
	if at, err = v[0].Float64(); err != nil {
		return 0, 0, err
	}
	n, err := v[1].Float64()
	if err != nil {
		return 0, 0, err
	}
	if n != math.Trunc(n) || n < 0 || n > 1<<53 {
		return 0, 0, fmt.Errorf("it has %v, which is not a count", n)
	}
	return at, uint64(n), nil
}
