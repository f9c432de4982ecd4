package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// maxForeign is the most bytes of a record that another host has counted.
const maxForeign = 64 << 10

// SamplePrefix leads the records that each host writes by itself; see [Foreign].
const SamplePrefix = samplePrefix

// ForeignMark reads the key of the mark of a host that counts elsewhere, and refuses a value that no [History] has written.
func ForeignMark(key string, value []byte, now time.Time) (host string, err error) {
	host = strings.TrimPrefix(key, openPrefix)
	if key != MarkKey(host) || CountsBy(host) == "" {
		return "", fmt.Errorf("the key %.80q is no host's mark", key)
	}
	if from, n := binary.Varint(value); n <= 0 || n != len(value) || from < 0 || from > sampleNumber(now)+samplesPerDay {
		return "", errors.New("the mark is none, or of a time that has not come yet")
	}
	return host, nil
}

// ForeignDay is what a host has counted elsewhere of an instance on a day.
type ForeignDay struct {
	InstanceID, Host string
	key              string
	day              int64
	cells            []cell
}

// Foreign reads a record that a host has counted elsewhere, and refuses one that no [History] has written, or of a day whose
// samples are not kept any more or have not come yet.
func Foreign(key string, value []byte, now time.Time) (*ForeignDay, error) {
	day, instanceID, err := parseDayKey(key, samplePrefix)
	if err != nil {
		return nil, err
	}
	d := &ForeignDay{InstanceID: instanceID, Host: hostOf(key), key: key, day: day}
	if key != sampleKey(day, instanceID, d.Host) || d.Host == "" {
		return nil, fmt.Errorf("the key %.80q is none of the history", key)
	}
	if today := dayOf(now); day > today+1 || day <= today-sampleDays {
		return nil, errors.New("samples of that day are not kept")
	}
	if len(value) > maxForeign {
		return nil, errors.New("the record is too large")
	}
	d.cells, err = decodeSamples(store.Record{Key: key, Value: value})
	return d, err
}

// Only leaves out the samples of times of which may says no, and tells how many are left, and whether all are.
func (d *ForeignDay) Only(may func(since, until time.Time) bool) (left int, all bool) {
	before := len(d.cells)
	d.cells = slices.DeleteFunc(d.cells, func(c cell) bool {
		since := time.Unix(d.day*daySeconds+int64(c.at)*sampleSeconds, 0)
		return !may(since, since.Add(openimds.MetricPeriod))
	})
	return len(d.cells), len(d.cells) == before
}

// Over is the record put together with what there is of it already. Of each sample a host counts ever more, so that the
// largest counts are the latest, whichever of several records comes last. What cannot be read has its place taken.
func (d *ForeignDay) Over(stored []byte) []byte {
	var cells []cell
	if stored != nil {
		cells, _ = decodeSamples(store.Record{Key: d.key, Value: stored})
	}
	for _, c := range d.cells {
		i, found := slices.BinarySearchFunc(cells, c.at, func(c cell, at int) int { return c.at - at })
		if !found {
			cells = slices.Insert(cells, i, c)
			continue
		}
		for m, n := range c.sum {
			cells[i].sum[m] = max(cells[i].sum[m], n)
		}
		cells[i].min, cells[i].max = cells[i].sum, cells[i].sum
	}
	return encodeCells(cells)
}
