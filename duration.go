package openimds

import (
	"strconv"
	"strings"
	"time"
)

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
