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
	query := r.largest("", "instance_id", instanceID)
	for ; from < until; from += oncePeriods {
		counts := map[sample]history.Counts{}
		err := r.ask(ctx, query, from, min(from+oncePeriods, until), func(s *series, number int64, value uint64) {
			m := slices.Index(openimds.Metrics(), s.Metric.Metric)
			if m < 0 {
				return // a later version counts it
			}
			key := sample{s.Metric.Writer, number}
			c := counts[key]
			c[m] = max(c[m], value) // two series differ in their host alone where a host was renamed
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

// Runs implements [history.Others]. Mostly the instances were there all the time, and little was counted; so the engine
// is asked only for what is not zero, and for the periods that samples begin at, or end before.
func (r *Reader) Runs(ctx context.Context, but string, from, until int64, pass func(instanceID string, first, end int64, c history.Counts)) error {
	there := func(offset string) string {
		return "max by (instance_id) (" + r.largest(offset, "writer!", but, "metric", openimds.MetricNoToken) + ")"
	}
	asked := []struct {
		query string
		until int64
	}{
		{there(""), from + 1},
		{there("") + " unless " + there(" offset 5m"), until},
		{there(" offset 5m") + " unless " + there(""), until},
		{"sum by (instance_id, metric) (max by (writer, instance_id, metric) (" + r.largest("", "writer!", but) + ")) > 0", until},
	}
	type instance struct {
		there  []bool // by the period
		began  []int64
		ended  []int64
		counts map[int64]history.Counts
	}
	all := map[string]*instance{}
	for i, question := range asked {
		err := r.ask(ctx, question.query, from, question.until, func(s *series, number int64, value uint64) {
			one := all[s.Metric.InstanceID]
			if one == nil {
				one = &instance{counts: map[int64]history.Counts{}}
				all[s.Metric.InstanceID] = one
			}
			switch i {
			case 0, 1:
				one.began = append(one.began, number)
			case 2:
				one.ended = append(one.ended, number)
			default:
				m := slices.Index(openimds.Metrics(), s.Metric.Metric)
				if m < 0 {
					return
				}
				c := one.counts[number]
				c[m] = value
				one.counts[number] = c
			}
		})
		if err != nil {
			return err
		}
	}
	for id, one := range all {
		one.there = make([]bool, until-from)
		slices.Sort(one.ended)
		for _, began := range one.began {
			ended := until
			if i, _ := slices.BinarySearch(one.ended, began+1); i < len(one.ended) {
				ended = one.ended[i]
			}
			for n := began; n < ended; n++ {
				one.there[n-from] = true
			}
		}
		for n := range one.counts { // it may have come between two of the questions
			one.there[n-from] = true
		}
		for n := from; n < until; {
			if !one.there[n-from] {
				n++
				continue
			}
			end := n + 1
			for end < until && one.there[end-from] && one.counts[end] == one.counts[n] {
				end++
			}
			pass(id, n, end, one.counts[n])
			n = end
		}
	}
	return nil
}

// largest is a query for the largest value of each series in the five minutes before. Labels are given as a name and a
// value; with ! at the end of the name it is of those that have another.
func (r *Reader) largest(offset string, labels ...string) string {
	selector := "installation=" + strconv.Quote(r.cfg.Installation)
	for i := 0; i < len(labels); i += 2 {
		selector += "," + labels[i] + "=" + strconv.Quote(labels[i+1])
	}
	return "max_over_time(" + Metric + "{" + selector + "}[5m]" + offset + ")"
}

// series is one of an answer: its labels, and its values as pairs of Unix seconds and a number in quotes.
type series struct {
	Metric struct {
		InstanceID string `json:"instance_id"`
		Metric     string `json:"metric"`
		Writer     string `json:"writer"`
	} `json:"metric"`
	Values [][2]json.Number `json:"values"`
}

// ask passes on what a query comes to at the end of each period from one number on up to before another.
func (r *Reader) ask(ctx context.Context, query string, from, until int64, pass func(s *series, number int64, value uint64)) error {
	r.mu.Lock()
	silent := r.cfg.Now().Before(r.silent)
	r.mu.Unlock()
	if silent {
		return openimds.ErrEngineAway
	}
	bounded, done := context.WithTimeout(ctx, askTimeout)
	defer done()
	err := r.answer(bounded, query, from, until, pass)
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
func (r *Reader) answer(ctx context.Context, query string, from, until int64, pass func(s *series, number int64, value uint64)) error {
	form := url.Values{
		"query": {query}, "step": {strconv.FormatInt(sampleSeconds, 10)},
		"start": {strconv.FormatInt((from+1)*sampleSeconds, 10)}, "end": {strconv.FormatInt(until*sampleSeconds, 10)},
		"nocache": {"1"}, // VictoriaMetrics keeps answers, which what comes late would not change
	}
	body, err := r.caller.post(ctx, strings.TrimSuffix(r.cfg.URL, "/")+"/api/v1/query_range", http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Cache-Control": {"no-store"}, // for Mimir
	}, strings.NewReader(form.Encode()))
	if err != nil {
		return err
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
		return err
	}
	switch {
	case answer.Status != "success":
		return fmt.Errorf("it says %.*q", maxSaid, answer.Error)
	case len(answer.Warnings) > 0:
		return fmt.Errorf("its answer may not be whole: %.*q", maxSaid, answer.Warnings[0])
	case answer.IsPartial:
		return errors.New("a part of what it has is away")
	case answer.Data.ResultType != "matrix":
		return fmt.Errorf("it answers with a %.20q, not a matrix", answer.Data.ResultType)
	}
	for i := range answer.Data.Result {
		s := &answer.Data.Result[i]
		for _, v := range s.Values {
			at, value, err := readValue(v)
			if err != nil {
				return err
			}
			if number := at/sampleSeconds - 1; number >= from && number < until {
				pass(s, number, value)
			}
		}
	}
	return nil
}

// readValue reads one value, which is a count at the end of a period.
func readValue(v [2]json.Number) (at int64, value uint64, err error) {
	seconds, err := v[0].Float64()
	if err != nil {
		return 0, 0, err
	}
	n, err := v[1].Float64()
	if err != nil {
		return 0, 0, err
	}
	if n != math.Trunc(n) || n < 0 || n > 1<<53 {
		return 0, 0, fmt.Errorf("it has %v, which is not a count", n)
	}
	if at = int64(seconds); float64(at) != seconds || at%sampleSeconds != 0 {
		return 0, 0, fmt.Errorf("it answers of %v, which is not the end of a period", seconds)
	}
	return at, uint64(n), nil
}
