package usage

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// maxForeign is the most bytes of a record of callers that another host has counted: what tells callers apart, their
// processes, windows and times take up half of it at most in what a [Meter] writes.
const maxForeign = 128 << 10

// maxForeignGroup is longer than any group's name.
const maxForeignGroup = 64

// foreignEarly is how far ahead another host's clock may be.
const foreignEarly = 24 * time.Hour

// CallersPrefix leads the records that each host writes of its callers; see [ForeignCallers].
const CallersPrefix = callersPrefix

// CallersKey is where a host keeps the callers of an instance.
func CallersKey(instanceID, host string) string { return callersKeys(instanceID) + host }

// ForeignCallers reads the key of a record of callers that a host has counted elsewhere, and refuses a value that no
// [Meter] has written: it is read again each time that somebody asks who calls, and kept until its callers are old. latest
// is when the last of them called.
func ForeignCallers(key string, value []byte, now time.Time) (instanceID, host string, latest time.Time, err error) {
	fail := func(err error) (string, string, time.Time, error) { return "", "", time.Time{}, err }
	instanceID, host, _ = strings.Cut(strings.TrimPrefix(key, callersPrefix), "/")
	if key != CallersKey(instanceID, host) || instanceID == "" || host == "" || strings.Contains(host, "/") {
		return fail(fmt.Errorf("the key %.80q is none of callers", key))
	}
	if len(value) == 0 || len(value) > maxForeign {
		return fail(errors.New("the record is empty or too large"))
	}
	if value[0] < packedFormat || value[0] > callersFormat {
		return fail(errors.New("the record has a form that no agent writes"))
	}
	callers, err := unpackCallers(value, maxCallers+1) // and the others
	if err != nil {
		return fail(err)
	}
	windows := 0
	for i := range callers {
		if err := callers[i].foreign(now.Add(foreignEarly)); err != nil {
			return fail(err)
		}
		windows += len(callers[i].windows)
		if last := time.Unix(0, callers[i].Last); last.After(latest) {
			latest = last
		}
	}
	if windows > maxWindowBytes {
		return fail(errors.New("the record has more windows than a host keeps"))
	}
	return instanceID, host, latest, nil
}

// LaterCallers says whether a record of callers that a host has counted is a later one than that which is stored: one that
// was sent before may come after it. Of the same last call, the later one has counted more.
func LaterCallers(value, stored []byte) bool {
	last, calls, err := callersOf(stored)
	if err != nil {
		return true
	}
	newLast, newCalls, err := callersOf(value)
	return err == nil && (newLast > last || newLast == last && newCalls >= calls)
}

// callersOf are the time of the last call in a record and how many it has.
func callersOf(value []byte) (last int64, calls uint64, err error) {
	callers, err := decodeCallers(store.Record{Value: value})
	for i := range callers {
		last = max(last, callers[i].Last)
		for _, n := range callers[i].Counts {
			calls += n
		}
	}
	return last, calls, err
}

// foreign refuses what no host counts of a caller by then.
func (r *callerRecord) foreign(latest time.Time) error {
	if len(r.Group) > maxForeignGroup || len(r.Agent) > MaxUserAgent { // a group may be of a release that follows this one
		return errors.New("a caller is not told apart as callers are")
	}
	if r.Process != "" {
		var p openimds.CallerProcess
		if len(r.Process) > maxProcessBytes || json.Unmarshal([]byte(r.Process), &p) != nil {
			return errors.New("a caller's process cannot be read")
		}
	}
	times := []int64{r.First, r.Last, r.FirstV1, r.LastV1, r.forwarded}
	if r.Lost != nil {
		times = append(times, r.Lost.At)
	}
	for _, at := range times {
		if at < 0 || at > latest.UnixNano() {
			return errors.New("a caller was there at a time that has not come yet, or before all")
		}
	}
	for _, at := range append(r.times.Visits(), r.times.Sittings()...) {
		if at < 0 || at > latest.UnixMilli() {
			return errors.New("a caller came at a time that has not come yet, or before all")
		}
	}
	until := sampleOf(latest.UnixNano())
	if r.from < 0 || r.from > until+1 {
		return errors.New("a caller's windows are of a time that has not come yet")
	}
	for _, w := range r.windows {
		if w.start < 0 || w.start > until {
			return errors.New("a caller's windows are of a time that has not come yet")
		}
	}
	return nil
}
