package history

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/openimds/openimds/store"
)

// maxForeign is the most bytes of a record that another host has counted.
const maxForeign = 64 << 10

// SamplePrefix leads the records that each host writes by itself; see [Foreign].
const SamplePrefix = samplePrefix

// Foreign reads the key of a record that a host has counted elsewhere, and refuses a value that no [History] has
// written, or a day whose samples are not kept any more or have not come yet.
func Foreign(key string, value []byte, now time.Time) (instanceID, host string, err error) {
	day, instanceID, err := parseDayKey(key, samplePrefix)
	if err != nil {
		return "", "", err
	}
	host = key[strings.LastIndexByte(key, '/')+1:]
	if key != sampleKey(day, instanceID, host) || host == "" {
		return "", "", fmt.Errorf("the key %.80q is none of the history", key)
	}
	if today := dayOf(now); day > today+1 || day <= today-sampleDays {
		return "", "", errors.New("samples of that day are not kept")
	}
	if len(value) > maxForeign {
		return "", "", errors.New("the record is too large")
	}
	_, err = decodeSamples(store.Record{Key: key, Value: value})
	return instanceID, host, err
}
