package hostdoor

import (
	"net/http"
	"time"

	"golang.org/x/time/rate"
)

// Paths are those of all requests that a host may make, but for the stream.
func Paths() (all []string) {
	for path := range handlers {
		all = append(all, path)
	}
	return all
}

// Attached are the hosts of the first region's instances, as the door knows by now.
func (d *Door) Attached() map[string]string {
	x := d.indexes[0]
	x.mu.Lock()
	defer x.mu.Unlock()
	all := map[string]string{}
	for instance, at := range x.attached {
		all[instance] = at.host.name
	}
	return all
}

// SetSignTimes is how long a request waits for its turn to have documents signed, and how long it signs.
func (d *Door) SetSignTimes(turn, sign time.Duration) { d.turnTime, d.signTime = turn, sign }

// LimitSigns has a host have so many documents signed, and no more.
func (d *Door) LimitSigns(host string, n int) { d.limitsOf(host).signs = rate.NewLimiter(0, n) }

// EndStreams has all hosts ask for all anew.
func (d *Door) EndStreams() { d.endStreams("a test") }

// Queued is how many things the streams of a host have yet to tell.
func (d *Door) Queued(host string) (all int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.streams[host] {
		s.mu.Lock()
		all += s.queued
		s.mu.Unlock()
	}
	return all
}

// Streams is how many there are.
func (d *Door) Streams() (all int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, of := range d.streams {
		all += len(of)
	}
	return all
}

// SetTakeTime says how long an answer may take.
func (d *Door) SetTakeTime(t time.Duration) { d.takes = t }

// How many requests may be under way, of a host and of who wants to join.
const (
	MaxCalls   = maxCalls
	MaxRedeems = maxRedeems
)

// SetHandler has all requests go to another handler first.
func (d *Door) SetHandler(h http.Handler) { d.http.Handler = h }
