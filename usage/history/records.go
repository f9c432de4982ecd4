package history

import (
	"fmt"
	"strings"
	"time"
)

// Keys of the store. The day stands before the instance, so that a flush of many instances touches
// neighbours, and what is old is at the front.
const (
	// samplePrefix leads the samples of young days: its keys go on with the day, a slash, the
	// instance's id, a slash and the host that counted.
	samplePrefix = "usage/300/"
	// hourPrefix leads the hours of old days: its keys go on with the day, a slash and the
	// instance's id, for the hosts' counts are put together there.
	hourPrefix = "usage/3600/"
)

// How long samples are kept, as CloudWatch keeps them: 63 days of five minutes, 455 days of hours.
const (
	sampleDays = 63
	hourDays   = 455
)

func sampleKeys(day int64, instanceID string) string {
	return samplePrefix + dayText(day) + "/" + instanceID + "/"
}

func sampleKey(day int64, instanceID, host string) string { return sampleKeys(day, instanceID) + host }

// hostOf is the host that a sampleKey ends with.
func hostOf(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

func hourKey(day int64, instanceID string) string {
	return hourPrefix + dayText(day) + "/" + instanceID
}

func dayText(day int64) string { return time.Unix(day*daySeconds, 0).UTC().Format(time.DateOnly) }

func dayOf(t time.Time) int64 { return floorDiv(t.Unix(), daySeconds) }

// parseDayKey reads the day and the instance of a key of the history.
func parseDayKey(key, prefix string) (day int64, instanceID string, err error) {
	text, rest, _ := strings.Cut(strings.TrimPrefix(key, prefix), "/")
	instanceID, _, _ = strings.Cut(rest, "/")
	t, err := time.Parse(time.DateOnly, text)
	if err != nil || instanceID == "" {
		return 0, "", fmt.Errorf("the store has the key %q, which is none of the history; delete it", key)
	}
	return dayOf(t), instanceID, nil
}
