package history

import (
	"context"
	"errors"
	"slices"

	"github.com/openimds/openimds/store"
)

// prunePage is how many records are looked at in one go.
const prunePage = 100

// Prune sums up the samples that are past their 63 days by the hour, and drops the hours that are past
// their 455 days. Several hosts may do so at once.
func (h *History) Prune(ctx context.Context) error {
	today := dayOf(h.cfg.Now())
	err := h.prune(ctx, h.cfg.Store, h.cfg.Host, today)
	if s := h.cfg.Earlier; s != nil {
		err = errors.Join(err, h.prune(ctx, s, h.cfg.EarlierHost, today))
	}
	if s := h.cfg.Marks; s != nil {
		err = errors.Join(err, h.dropMarks(ctx, s, today-sampleDays, keyHost(h.cfg.MarkedAs)))
	}
	return err
}

// prune does so in one store, where that is this history's host.
func (h *History) prune(ctx context.Context, s store.Store, own string, today int64) error {
	marks, err := h.marks(ctx, s, own)
	if err != nil {
		return err
	}
	err = h.sumUp(ctx, s, today-sampleDays, marks)
	if err == nil { // of what is left of those days nothing else would tell that it is not known as a whole
		err = h.dropMarks(ctx, s, today-sampleDays, own)
	}
	return errors.Join(err, dropHours(ctx, s, today-hourDays))
}

// sumUp makes hours of the samples of days before that one. A record that cannot be read stays, and
// does not hinder the others.
func (h *History) sumUp(ctx context.Context, s store.Store, before int64, marks untold) error {
	var failures []error
	done := ""
	for after := ""; ; {
		page, err := s.List(ctx, store.Range{Prefix: samplePrefix, After: after, Limit: prunePage})
		if err != nil || len(page.Records) == 0 {
			return errors.Join(append(failures, err)...)
		}
		for _, record := range page.Records {
			after = record.Key
			number, instanceID, err := parseDayKey(record.Key, samplePrefix)
			if err != nil {
				failures = append(failures, err)
				continue
			}
			if number >= before {
				return errors.Join(failures...)
			}
			if keys := sampleKeys(number, instanceID); keys != done { // the hosts' records are neighbours
				done = keys
				failures = append(failures, h.sumUpDay(ctx, s, number, instanceID, marks))
			}
		}
	}
}

// sumUpDay puts the hours of an instance's day in the place of its samples.
func (h *History) sumUpDay(ctx context.Context, s store.Store, number int64, instanceID string, marks untold) error {
	page, err := s.List(ctx, store.Range{Prefix: sampleKeys(number, instanceID)})
	if err != nil || len(page.Records) == 0 {
		return err
	}
	var samples []cell
	changes := make([]store.Change, 0, len(page.Records)+1)
	for _, record := range page.Records {
		if samples, err = addRecord(samples, record, marks); err != nil {
			return err
		}
		changes = append(changes, store.Change{Verb: store.Delete, Key: record.Key, If: record.Revision})
	}
	was, err := find(ctx, s, hourKey(number, instanceID))
	if err != nil {
		return err
	}
	cells := hours(samples)
	if was.Value != nil {
		old, err := decodeHours(was)
		if err != nil {
			return err
		}
		cells = addHours(cells, old)
	}
	changes = append(changes, store.Change{Verb: store.Put, Key: hourKey(number, instanceID), Value: encodeCells(cells), If: was.Revision})
	_, err = s.Commit(ctx, changes...)
	h.kept.changed(number)
	if !errors.Is(err, store.ErrConflict) {
		return err
	}
	return nil // another host was faster; what it left over has its turn in an hour
}

// addHours adds the hours of a host that came late with its samples, when those of the others had
// been summed up already: which samples they had in common is no longer known.
func addHours(late, old []cell) []cell {
	for _, c := range late {
		i, found := slices.BinarySearchFunc(old, c.at, func(c cell, at int) int { return c.at - at })
		if !found {
			old = slices.Insert(old, i, c)
			continue
		}
		samples := max(old[i].samples, c.samples)
		old[i] = old[i].with(c)
		old[i].samples = samples
	}
	return old
}

// dropHours forgets the hours of days before that one. A key that cannot be read stays, and does not hinder the
// others.
func dropHours(ctx context.Context, s store.Store, before int64) error {
	var failures []error
	for after := ""; ; {
		page, err := s.List(ctx, store.Range{Prefix: hourPrefix, After: after, Limit: prunePage})
		if err != nil {
			return errors.Join(append(failures, err)...)
		}
		var changes []store.Change
		done := !page.More
		for _, record := range page.Records {
			after = record.Key
			number, _, err := parseDayKey(record.Key, hourPrefix)
			if err != nil {
				failures = append(failures, err)
				continue
			}
			if number >= before {
				done = true
				break
			}
			changes = append(changes, store.Change{Verb: store.Delete, Key: record.Key, If: store.Whatever})
		}
		if len(changes) > 0 {
			if _, err := s.Commit(ctx, changes...); err != nil {
				return errors.Join(append(failures, err)...)
			}
		}
		if done {
			return errors.Join(failures...)
		}
	}
}
