package board

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/attest"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/migrate/report"
)

const (
	// unasked is for how long nobody has to ask for a report until it is given up.
	unasked = time.Minute
	// maxDrafts is how many there are at once, of all keys together; a key has one.
	maxDrafts = 4
	// maxPart is how much of a report one answer has, in bytes.
	maxPart = 128 << 10
)

// drafts are the reports that are being made, or read. They live in this process: whoever asks another one, or asks again
// after a restart, has theirs made anew.
type drafts struct {
	kept    time.Duration // see unasked
	mu      sync.Mutex
	closed  bool
	by      map[string]*draft // by the id of the access key that asked
	working sync.WaitGroup
}

// draft is a report. It is made by a goroutine of its own, which lives as long as it does.
type draft struct {
	id     string
	form   wire.ReportForm
	end    context.CancelFunc
	idle   *time.Timer
	judged atomic.Int64
	all    atomic.Int64 // instances; 0: they are not counted yet

	made chan struct{} // closed when the body is there, or err
	err  error
	body
	at  time.Time
	key string

	mu   sync.Mutex // of tail, and of reading the body
	keep int64      // of the body in the signed report
	tail []byte     // what comes behind it; nil: nobody has asked for the signature yet
}

// MakeReport begins to write down how far all instances of the region are, by [migrate.DefaultCriteria], and returns what
// [Board.Report] knows it by. An earlier one of the same key is given up.
func (b *Board) MakeReport(ctx context.Context, who sigv4.Identity, form wire.ReportForm) (id string, err error) {
	ctx = withAsker(ctx, who)
	installation, err := report.OpenIMDS{API: b.api}.Installation(ctx)
	if err != nil {
		return "", worded(ctx, err)
	}
	d := &draft{id: openimds.NewUUID(), form: form, made: make(chan struct{}), key: installation.Key}
	ctx, d.end = context.WithCancel(context.WithValue(context.WithoutCancel(ctx), unhurried{}, true))
	if err := b.drafts.add(who.KeyID, d); err != nil {
		d.end()
		return "", err
	}
	b.drafts.working.Go(func() {
		defer b.drafts.remove(who.KeyID, d)
		if d.err = b.write(ctx, d, installation); d.err != nil {
			d.err = worded(ctx, d.err)
		}
		close(d.made)
		<-ctx.Done()
		d.mu.Lock() // whoever reads it
		defer d.mu.Unlock()
		d.discard()
	})
	return d.id, nil
}

// Report tells how far a report is that the same key has had made, and once it is made what follows after so many bytes of it. The
// first who asks for it then has it signed.
func (b *Board) Report(ctx context.Context, who sigv4.Identity, id string, from int64) (told wire.GetMigrationReportResult, err error) {
	d := b.drafts.find(who.KeyID, id)
	if d == nil {
		return told, openimds.Errorf(openimds.NotFound, openimds.Terminated, "There is no such report any more: nobody asked for it for a minute, its key has had another one made, or the server was restarted. Have it made anew")
	}
	told.Judged, told.Instances = int(d.judged.Load()), int(d.all.Load())
	select {
	case <-d.made:
	default:
		return told, nil
	}
	if d.err != nil {
		return told, d.err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := b.sign(withAsker(ctx, who), d); err != nil {
		return told, worded(ctx, err)
	}
	told.Size = d.keep + int64(len(d.tail))
	if from > told.Size {
		return told, openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "The report has %d bytes, and so nothing after %d", told.Size, from)
	}
	told.FileName = "migration-" + b.region + "-" + d.at.Format("2006-01-02") + "." + string(d.form)
	told.Key = d.key
	told.Part, err = d.part(from)
	return told, err
}

// sign has the installation sign what was made. d.mu is held.
func (b *Board) sign(ctx context.Context, d *draft) error {
	if d.tail != nil {
		return nil
	}
	signed, err := client.Call(ctx, b.api, wire.SignReport, wire.SignReportRequest{SHA256: d.digest})
	if err != nil {
		return err
	}
	d.keep, d.tail, err = attest.Tail(d.size, d.form == wire.ReportJSON, signed.Signature)
	return err
}

// part is what follows of the signed report. d.mu is held.
func (d *draft) part(from int64) ([]byte, error) {
	part := make([]byte, min(maxPart, d.keep+int64(len(d.tail))-from))
	n := 0
	if from < d.keep {
		n = int(min(int64(len(part)), d.keep-from))
		if _, err := d.file.ReadAt(part[:n], from); err != nil {
			return nil, err
		}
	}
	if n < len(part) {
		copy(part[n:], d.tail[from+int64(n)-d.keep:])
	}
	return part, nil
}

// Close gives all reports up.
func (b *Board) Close() {
	b.drafts.mu.Lock()
	b.drafts.closed = true
	for d := range maps.Values(b.drafts.by) {
		d.end()
	}
	b.drafts.mu.Unlock()
	b.drafts.working.Wait()
}

// add has a key's draft be in the place of the one before.
func (all *drafts) add(key string, d *draft) error {
	all.mu.Lock()
	defer all.mu.Unlock()
	before := all.by[key]
	switch {
	case all.closed:
		return openimds.Errorf(openimds.Unavailable, openimds.Unready, "The server is being stopped")
	case before == nil && len(all.by) >= maxDrafts:
		return openimds.Errorf(openimds.OperationFailure, openimds.TooMany, "%d other keys are having reports made, which is all there can be at once: try again in a few minutes", maxDrafts)
	case before != nil:
		before.end()
	}
	if all.by == nil {
		all.by = map[string]*draft{}
	}
	all.by[key] = d
	d.idle = time.AfterFunc(all.kept, d.end)
	return nil
}

// find returns a key's draft of that id, which somebody has asked for by that; nil: there is none.
func (all *drafts) find(key, id string) *draft {
	all.mu.Lock()
	defer all.mu.Unlock()
	d := all.by[key]
	if d == nil || d.id != id || !d.idle.Reset(all.kept) {
		return nil
	}
	return d
}

func (all *drafts) remove(key string, d *draft) {
	all.mu.Lock()
	defer all.mu.Unlock()
	d.idle.Stop()
	if all.by[key] == d {
		delete(all.by, key)
	}
}
