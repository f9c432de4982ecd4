package attach

import (
	"bytes"
	"context"
	"strings"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// listPage is how many attachments are read at once.
const listPage = 1000

func (a *Attachments) list(ctx context.Context) error {
	there := map[string]bool{}
	for r := (store.Range{Prefix: records.AttachmentPrefix, Limit: listPage}); ; {
		page, err := a.cfg.Store.List(ctx, r)
		if err != nil {
			return err
		}
		for _, record := range page.Records {
			r.After = record.Key
			if a.concerns(record) {
				there[strings.TrimPrefix(record.Key, records.AttachmentPrefix)] = true
				a.see(record)
			}
		}
		if !page.More {
			break
		}
	}
	clear(a.fresh) // who is seated now is seated from the store
	a.mu.Lock()
	for name := range a.wanted {
		if !there[name] {
			a.forget(name)
		}
	}
	a.mu.Unlock()
	return a.settle(ctx)
}

// concerns says whether an attachment is of this host, was or may be: nearly all of a fleet's are others', and telling so
// costs less than reading them.
func (a *Attachments) concerns(e store.Record) bool {
	if e.Value != nil && (bytes.Contains(e.Value, []byte(a.cfg.Name)) || !bytes.Contains(e.Value, []byte(`"host"`))) {
		return true
	}
	name := strings.TrimPrefix(e.Key, records.AttachmentPrefix)
	a.mu.Lock()
	defer a.mu.Unlock()
	_, wanted := a.wanted[name]
	return wanted || a.seated[name] || a.moved[name] || a.leaving[name] || !a.ended[name].IsZero()
}
