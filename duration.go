package openimds

import (
	"strconv"
	"strings"
	"time"
)

// clockSkew is how far the clocks of two hosts of an installation may be apart.
const clockSkew = time.Minute

// within says whether it is the time from since until an end. A time before its beginning is of a clock that was turned back:
// how much of it is left is not known then, so nothing is.
func within(now, since, until time.Time) bool {
	return now.Before(until) && now.After(since.Add(-clockSkew))
}

// Brief is a duration as one would type it: 10m, 1h30m, 14d. Days are told from two on, and only whole ones.
func Brief(d time.Duration) string {
	const day = 24 * time.Hour
	if d%day == 0 && d >= 2*day {
		return strconv.Itoa(int(d/day)) + "d"
	}
	text := d.String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}
