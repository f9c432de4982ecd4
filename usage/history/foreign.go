package history

import (
	"encoding/binary"
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

// ForeignMark reads the key of the mark of a host that counts elsewhere, and refuses a value that no [History] has written.
func ForeignMark(key string, value []byte, now time.Time) (host string, err error) {
	host = strings.TrimPrefix(key, openPrefix)
	if key != MarkKey(host) || host == "" {
		return "", fmt.Errorf("the key %.80q is no host's mark", key)
	}
	if from, n := binary.Varint(value); n <= 0 || n != len(value) || from < 0 || from > sampleNumber(now)+samplesPerDay {
		return "", errors.New("the mark is none, or of a time that has not come yet")
	}
	return host, nil
}

// Foreign reads the key of a record that a host has counted elsewhere, and refuses a value that no [History] has
// written, or a day whose samples are not kept any more or have not come yet.
func Foreign(key string, value []byte, now time.Time) (instanceID, host string, err error) {
	day, instanceID, err := parseDayKey(key, samplePrefix)
	if err != nil {
		return "", "", err
	}
	host = hostOf(key)
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
