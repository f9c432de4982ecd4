package storelog

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// Bounds of the reading of one page, in records. Whoever looks for what is rare reads more pages, some of them empty.
const (
	atOnce  = 500
	maxPage = 4000
)

// outOfOrder is by how much an entry may be older than one that comes behind it: those of servers whose clocks differ.
const outOfOrder = time.Hour

var _ openimds.ChangeLog = (*Log)(nil)

// Changes implements [openimds.ChangeLog].
func (l *Log) Changes(ctx context.Context, resource string) (found []openimds.AuditEntry, since time.Time, err error) {
	if since, err = l.since(ctx, records.AuditSinceKey); err != nil {
		return nil, time.Time{}, err
	}
	for r := (store.Range{Prefix: records.AuditOfKey(resource, ""), Limit: atOnce}); ; {
		page, err := l.store.List(ctx, r)
		if err != nil {
			return nil, time.Time{}, err
		}
		for _, record := range page.Records {
			r.After = record.Key
			entries, err := l.entriesOf(ctx, record)
			if err != nil && !errors.Is(err, errNotMade) {
				return nil, time.Time{}, err
			}
			for _, e := range slices.Backward(entries) {
				if e.Failure == "" {
					found = append(found, e)
				}
			}
		}
		if !page.More {
			slices.Reverse(found)
			return found, since, nil
		}
	}
}

// since is what the record of that key says; zero: nothing.
func (l *Log) since(ctx context.Context, key string) (time.Time, error) {
	r, err := l.store.Get(ctx, key)
	if errors.Is(err, store.ErrNoRecord) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	return records.Decode[time.Time](r)
}

// placeForm is a mark, and how many of its entries were told.
var placeForm = regexp.MustCompile(`^([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\.([0-9]{1,5})$`)

// Entries implements [openimds.ChangeLog].
func (l *Log) Entries(ctx context.Context, q openimds.AuditQuery) (page openimds.AuditPage, err error) {
	r := reader{log: l, query: &q, from: records.AuditPrefix}
	if records.AuditIndexed(q.Resource) {
		r.from = records.AuditOfKey(q.Resource, "")
	}
	if q.Place != "" {
		place := placeForm.FindStringSubmatch(q.Place)
		if place == nil {
			return page, openimds.ErrNoPlace
		}
		r.mark = place[1]
		r.told, _ = strconv.Atoi(place[2]) // of five digits
	}
	for _, key := range []string{records.AuditSinceKey, records.AuditOtherSinceKey} {
		since, err := l.since(ctx, key)
		if err != nil {
			return page, err
		}
		if since.After(r.page.Begins) {
			r.page.Begins = since
		}
	}
	err = r.read(ctx)
	return r.page, err
}

// reader reads one page of two lists together, by the marks of their records.
type reader struct {
	log   *Log
	query *openimds.AuditQuery
	from  string // leads the changes
	page  openimds.AuditPage
	// mark is of the record that was read last, of which so many entries were told.
	mark string
	told int
}

// list is one of the two, as far as it was read.
type list struct {
	prefix, after string
	records       []store.Record
	over          bool
}

// fill sees to it that the next record of the list is there, if there is one.
func (r *reader) fill(ctx context.Context, of *list) error {
	for len(of.records) == 0 && !of.over {
		page, err := r.log.store.List(ctx, store.Range{Prefix: of.prefix, After: of.after, Limit: atOnce})
		if err != nil {
			return err
		}
		of.over = !page.More
		for _, record := range page.Records {
			of.after = record.Key
			if of.mark(record) >= r.mark {
				of.records = append(of.records, record)
			}
		}
	}
	return nil
}

func (of *list) mark(r store.Record) string { return strings.TrimPrefix(r.Key, of.prefix) }

// read reads records until the page is full or has cost enough.
func (r *reader) read(ctx context.Context) error {
	lists := []*list{{prefix: r.from}, {prefix: records.AuditOtherPrefix}}
	if r.mark != "" {
		for _, of := range lists { // the record itself is read again
			of.after = of.prefix + r.mark[:len(r.mark)-1]
		}
	}
	for range maxPage {
		var next *list
		for _, of := range lists {
			if err := r.fill(ctx, of); err != nil {
				return err
			}
			if len(of.records) > 0 && (next == nil || of.mark(of.records[0]) < next.mark(next.records[0])) {
				next = of
			}
		}
		if next == nil {
			return nil
		}
		record := next.records[0]
		if mark := next.mark(record); mark != r.mark {
			r.mark, r.told = mark, 0
		}
		if r.take(ctx, record) {
			return nil
		}
		next.records = next.records[1:]
	}
	r.stop()
	return nil
}

// stop ends the page where it has come to.
func (r *reader) stop() { r.page.Next = fmt.Sprintf("%s.%d", r.mark, r.told) }

// take takes what is asked for of a record's entries, the last first. over: the page is full, or all behind it is too old.
func (r *reader) take(ctx context.Context, record store.Record) (over bool) {
	entries, err := r.log.entriesOf(ctx, record)
	if err != nil {
		if !errors.Is(err, errNotMade) {
			r.page.Damaged++
		}
		return false
	}
	slices.Reverse(entries)
	for _, e := range entries[min(r.told, len(entries)):] {
		if e.When.Before(r.query.Since.Add(-outOfOrder)) {
			return true
		}
		if len(r.page.Entries) >= r.query.Most {
			r.stop()
			return true
		}
		r.told++
		if r.query.Wants(&e) {
			r.page.Entries = append(r.page.Entries, e)
		}
	}
	return false
}
