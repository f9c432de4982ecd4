package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	query := r.largest("{__name__=~" + strconv.Quote(Calls+"|"+Watched) + "," + r.ours() + ",instance_id=" + strconv.Quote(instanceID) + "}")
	for ; from < until; from += oncePeriods {
		counts := map[sample]history.Counts{}
		err := r.askPeriods(ctx, query, from, min(from+oncePeriods, until), func(s *series, number int64, value uint64) {
			key := sample{s.Metric.Writer, number}
			c := counts[key]
			if m := slices.Index(countNames, s.Metric.Metric); m >= 0 { // else it is watched, or a later version counts it
				c[m] = max(c[m], value) // two series differ in their host alone where a host was renamed
			}
			counts[key] = c
		})
		if err != nil {
			return err
		}
		for s, c := range counts {
			pass(s.writer, s.number, c)
		}
	}
	return nil
}

// onceIDs is how many instances one question names.
const onceIDs = 200

// Runs implements [history.Others]. Mostly the instances were there all the time, and few were called: the engine is asked
// how many samples there are of each, which ones only where some are missing, and for the counts, which are not zero.
func (r *Reader) Runs(ctx context.Context, but string, from, until int64, pass func(writer, instanceID string, first, end int64, c history.Counts)) error {
	if until = min(until, sampleNumber(r.cfg.Now())+1); until <= from {
		return nil
	}
	others := r.ours() + ",writer!=" + strconv.Quote(but)
	type key struct{ id, writer string }
	all := map[key]*instanceRuns{}
	of := func(s *series) *instanceRuns {
		key := key{s.Metric.InstanceID, s.Metric.Writer}
		one := all[key]
		if one == nil {
			one = &instanceRuns{there: make([]bool, until-from), counts: map[int64]history.Counts{}}
			all[key] = one
		}
		return one
	}
	span := "[" + strconv.FormatInt((until-from)*sampleSeconds, 10) + "s]"
	err := r.ask(ctx, "query", url.Values{
		"query": {"count_over_time(" + Watched + "{" + others + "}" + span + ")"}, "time": {strconv.FormatInt(until*sampleSeconds, 10)},
	}, func(s *series) error {
		_, n, err := readValue(s.Value)
		one := of(s)
		one.whole = one.whole || n == uint64(until-from)
		return err
	})
	if err != nil {
		return err
	}
	var parts []string
	for key, one := range all {
		if !one.whole {
			parts = append(parts, regexp.QuoteMeta(key.id))
		}
	}
	for ids := range slices.Chunk(parts, onceIDs) {
		query := Watched + "{" + others + ",instance_id=~" + strconv.Quote(strings.Join(ids, "|")) + "}" + span
		err := r.askWhich(ctx, query, until, func(s *series, number int64) {
			if one := of(s); number >= from && number < until {
				one.there[number-from] = true
			}
		})
		if err != nil {
			return err
		}
	}
	err = r.askPeriods(ctx, r.largest(Calls+"{"+others+"}"), from, until, func(s *series, number int64, value uint64) {
		if m := slices.Index(countNames, s.Metric.Metric); m >= 0 {
			one := of(s)
			c := one.counts[number]
			c[m] = max(c[m], value)
			one.counts[number] = c
		}
	})
	if err != nil {
		return err
	}
	for key, one := range all {
		one.pass(from, until, func(first, end int64, c history.Counts) { pass(key.writer, key.id, first, end, c) })
	}
	return nil
}

// askWhich passes on the samples that values of a query are of, up to before a number.
func (r *Reader) askWhich(ctx context.Context, query string, until int64, pass func(s *series, number int64)) error {
	return r.ask(ctx, "query", url.Values{"query": {query}, "time": {strconv.FormatInt(until*sampleSeconds, 10)}}, func(s *series) error {
		for _, v := range s.Values {
			seconds, _, err := readValue(v)
			if err != nil {
				return err
			}
			pass(s, int64(math.Floor(seconds))/sampleSeconds)
		}
		return nil
	})
}

// instanceRuns is what a writer told of an instance's samples.
type instanceRuns struct {
	whole  bool   // all of them are there
	there  []bool // else which
	counts map[int64]history.Counts
}

// pass passes the samples on as runs of equal ones.
func (i *instanceRuns) pass(from, until int64, pass func(first, end int64, c history.Counts)) {
	for n := range i.counts {
		i.there[n-from] = true // it may have come between two of the questions
	}
	for n := from; n < until; {
		end := n + 1
		if i.whole || i.there[n-from] {
			for end < until && (i.whole || i.there[end-from]) && i.counts[end] == i.counts[n] {
				end++
			}
			pass(n, end, i.counts[n])
		}
		n = end
	}
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
