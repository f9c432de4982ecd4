package hostlink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// aboutKey is where a copy says what it is of.
const aboutKey = "copy"

// aboutVersion is that of copies which this program writes; one of a later version may hold what must not be half-read.
const aboutVersion = 1

// About says what a copy is of.
type About struct {
	Version int      `json:"version"`
	Host    string   `json:"host"`
	Home    string   `json:"home"`
	Regions []string `json:"regions"`
	Counting
}

// Copy is what a host serves, in a store of its own: instances, attachments and recordings as they stand in the
// replicas' store. All of a host's side follows it as it would follow that store.
type Copy struct {
	store store.Store
	host  string
	log   *slog.Logger

	mu    sync.Mutex
	about *About // nil: nothing is known yet
	// regions are all that this process has been told of, and those that it began with.
	regions []string
	synced  chan struct{}
	once    sync.Once
	keys    string // which keys sign now; empty: it is not known

	// writing is held by who writes; forgotten says that nobody does any more.
	writing   sync.Mutex
	forgotten bool

	// following is of the stream that is being taken, once it has told all there is; failed is how many streams have
	// ended or could not be begun, and moved is closed when either is another.
	following bool
	failed    int
	moved     chan struct{}
	// through has, by region, the revision of the replicas' store up to which all is written; nil: the replica tells none.
	through map[string]int64
}

// OpenCopy reads all of a host's copy, each record with its checksum. A copy of another host is emptied: its guests are
// none of this one's.
func OpenCopy(ctx context.Context, s store.Store, host string, log *slog.Logger) (*Copy, error) {
	c := &Copy{store: s, host: host, log: log, synced: make(chan struct{}), moved: make(chan struct{})}
	page, err := s.List(ctx, store.Range{})
	if err != nil {
		return nil, err
	}
	for _, r := range page.Records {
		if r.Key != aboutKey {
			continue
		}
		about, err := records.Decode[About](r)
		if err != nil {
			return nil, err
		}
		if about.Version != aboutVersion {
			return nil, fmt.Errorf("the copy has version %d, this program knows %d", about.Version, aboutVersion)
		}
		if about.Host == host && len(about.Regions) > 0 {
			c.about, c.regions = &about, slices.Clone(about.Regions)
		}
	}
	if c.about == nil && len(page.Records) > 0 {
		var all []store.Change
		for _, r := range page.Records {
			all = append(all, store.Change{Verb: store.Delete, Key: r.Key, If: store.Whatever})
		}
		return c, c.commit(ctx, all)
	}
	return c, nil
}

// About says what the copy is of; false: nothing is in it yet, so that nobody can be served from it.
func (c *Copy) About() (About, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.about == nil {
		return About{}, false
	}
	return *c.about, true
}

// Synced is closed once a replica has told all there is.
func (c *Copy) Synced() <-chan struct{} { return c.synced }

// Keys tells which keys of the replicas sign now; empty: none has said so yet.
func (c *Copy) Keys() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keys
}

func (c *Copy) setKeys(keys string) {
	if keys == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys = keys
}

// ours are the kinds of records that replicas tell of; whatever else is of a replica of a later release, and passed over.
var ours = []string{records.InstancePrefix, records.AttachmentPrefix, records.RecordingPrefix, records.WatchedPrefix}

// Prefix leads the keys of a region in a copy.
func (a About) Prefix(region string) string {
	if region == a.Home {
		return ""
	}
	return records.RegionKey(region)
}

// errUnknown says that a record is of a kind that this program does not know.
var errUnknown = errors.New("no record of a host's")

// key is where a record stands in the copy; errUnknown: nowhere.
func (a About) key(r Record) (string, error) {
	if !slices.Contains(a.Regions, r.Region) {
		return "", fmt.Errorf("the replica tells of the region %.40q, which it has not named", r.Region)
	}
	of := func(prefix string) bool { return strings.HasPrefix(r.Key, prefix) && len(r.Key) > len(prefix) }
	if !slices.ContainsFunc(ours, of) {
		return "", errUnknown
	}
	return a.Prefix(r.Region) + r.Key, nil
}

// bare is a key within its region.
func bare(key string) string {
	if rest, further := strings.CutPrefix(key, records.RegionPrefix); further {
		_, key, _ = strings.Cut(rest, "/")
	}
	return key
}

// change has the copy have what a commit changed.
func (c *Copy) change(ctx context.Context, about About, all []Record) error {
	var changes []store.Change
	for _, r := range all {
		key, err := about.key(r)
		if errors.Is(err, errUnknown) {
			continue
		}
		if err != nil {
			return err
		}
		switch {
		case r.Unread:
			c.log.Error("the replica cannot read a record of an instance; serving its last good copy", "key", key)
		case r.Value == nil:
			changes = append(changes, store.Change{Verb: store.Delete, Key: key, If: store.Whatever})
		default:
			changes = append(changes, store.Change{Verb: store.Put, Key: key, Value: records.Stamp(r.Value, r.Tag), If: store.Whatever})
		}
	}
	return c.commit(ctx, changes)
}

// replace has the copy have what a replica has listed, and what it has gone on from, and nothing else. Only differences
// are written.
func (c *Copy) replace(ctx context.Context, about About, all []Record, from had) error {
	page, err := c.store.List(ctx, store.Range{})
	if err != nil {
		return err
	}
	listed := make(map[string]Record, len(from)+len(all))
	for _, was := range page.Records {
		r, goesOn := from[was.Key]
		if !goesOn || !slices.Contains(about.Regions, r.Region) { // of a region that it lacks, the replica says nothing
			continue
		}
		key, err := about.key(r)
		if err != nil {
			return err
		}
		r.Value = was.Value
		listed[key] = r
	}
	for _, r := range all {
		key, err := about.key(r)
		if errors.Is(err, errUnknown) {
			continue
		}
		if err != nil {
			return err
		}
		if r.Value == nil && !r.Unread { // it has it no more
			delete(listed, key)
			continue
		}
		r.Value = records.Stamp(r.Value, r.Tag)
		listed[key] = r
	}
	changes := differences(c.concerns(about, page.Records), listed)
	value, err := records.Encode(about)
	if err != nil {
		return err
	}
	if was, known := c.About(); !known || !reflect.DeepEqual(was, about) {
		changes = append(changes, store.Change{Verb: store.Put, Key: aboutKey, Value: value, If: store.Whatever})
	}
	if err := c.commit(ctx, changes); err != nil {
		return err
	}
	c.mu.Lock()
	c.about = &about
	c.mu.Unlock()
	c.once.Do(func() { close(c.synced) })
	return nil
}

// concerns are the records that a listing by that replica tells of. Those of a region that this process has served and
// the replica does not have stay as they are: regions are added to replicas one after the other, and the guests of one
// are not to go with the replica that is asked. They go at the next start, if no replica has the region by then.
func (c *Copy) concerns(about About, were []store.Record) []store.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	var without []string
	for _, region := range c.regions {
		if c.about != nil && c.about.Home == about.Home && !slices.Contains(about.Regions, region) {
			without = append(without, region)
		}
	}
	for _, region := range about.Regions {
		if !slices.Contains(c.regions, region) {
			c.regions = append(c.regions, region)
		}
	}
	if len(without) == 0 {
		return were
	}
	c.log.Warn("the replica lacks regions that others have; serving what is known of them, and nothing that changes there", "regions", without)
	return slices.DeleteFunc(slices.Clone(were), func(r store.Record) bool {
		return slices.ContainsFunc(without, func(region string) bool { return strings.HasPrefix(r.Key, about.Prefix(region)) })
	})
}

// differences are what makes those that were there those that are listed.
func differences(were []store.Record, listed map[string]Record) (changes []store.Change) {
	put := func(key string, r Record) {
		changes = append(changes, store.Change{Verb: store.Put, Key: key, Value: r.Value, If: store.Whatever})
	}
	drop := func(key string) {
		changes = append(changes, store.Change{Verb: store.Delete, Key: key, If: store.Whatever})
	}
	same := map[string]bool{}
	var begun []string // attachments of instances that are others by now
	for _, was := range were {
		if !slices.ContainsFunc(ours, func(prefix string) bool { return strings.HasPrefix(bare(was.Key), prefix) }) {
			continue
		}
		now, there := listed[was.Key]
		switch {
		case !there:
			drop(was.Key)
		case now.Unread || bytes.Equal(now.Value, was.Value):
			same[was.Key] = true
		case other(was, now):
			begun = append(begun, strings.TrimSuffix(was.Key, now.Key)+records.AttachmentPrefix+strings.TrimPrefix(now.Key, records.InstancePrefix))
		}
	}
	for _, key := range begun {
		// First nobody is at the former place, then the record is the other one's: never is the guest of the one answered as
		// the other.
		if _, there := listed[key]; there {
			drop(key)
			delete(same, key)
		}
	}
	for key, r := range listed {
		if !same[key] && !r.Unread {
			put(key, r)
		}
	}
	return changes
}

// other says whether an instance's record is another instance's by now.
func other(was store.Record, now Record) bool {
	if !strings.HasPrefix(now.Key, records.InstancePrefix) {
		return false
	}
	before, err := records.DecodeInstance(store.Record{Key: now.Key, Value: was.Value})
	if err != nil {
		return true
	}
	after, err := records.DecodeInstance(store.Record{Key: now.Key, Value: now.Value})
	return err != nil || before.ID != after.ID
}

// Forget empties the copy for good: what it is of first, so that nobody is served from it at the next start however far
// this comes. What a stream still tells is not taken any more.
func (c *Copy) Forget(ctx context.Context) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.forgotten = true
	if _, err := c.store.Commit(ctx, store.Change{Verb: store.Delete, Key: aboutKey, If: store.Whatever}); err != nil {
		return err
	}
	page, err := c.store.List(ctx, store.Range{KeysOnly: true})
	if err != nil {
		return err
	}
	var all []store.Change
	for _, r := range page.Records {
		all = append(all, store.Change{Verb: store.Delete, Key: r.Key, If: store.Whatever})
	}
	slices.SortStableFunc(all, func(a, b store.Change) int { return stage(a) - stage(b) })
	for batch := range slices.Chunk(all, commitChanges) {
		if _, err := c.store.Commit(ctx, batch...); err != nil {
			return err
		}
	}
	return nil
}

// How much one commit writes: what any store takes.
const (
	commitChanges = 100
	commitBytes   = 768 << 10
)

// commit makes changes in one commit, if they fit into one. Otherwise they go in an order in which no state between is
// more permissive than the one before or the one after: places are left first, an instance is what it is now before
// anybody is answered at a new place, and what nobody is any more goes last.
func (c *Copy) commit(ctx context.Context, changes []store.Change) error {
	slices.SortStableFunc(changes, func(a, b store.Change) int { return stage(a) - stage(b) })
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.forgotten {
		return ErrEvicted
	}
	for len(changes) > 0 {
		n, size := 0, 0
		seen := map[string]bool{} // a place may be left and taken again
		for n < len(changes) && n < commitChanges && (n == 0 || size+len(changes[n].Value) <= commitBytes) && !seen[changes[n].Key] {
			size += len(changes[n].Value)
			seen[changes[n].Key] = true
			n++
		}
		if _, err := c.store.Commit(ctx, changes[:n]...); err != nil {
			if errors.Is(err, store.ErrClosed) || ctx.Err() != nil {
				return err
			}
			return fmt.Errorf("this host's copy cannot be written: %w", err)
		}
		changes = changes[n:]
	}
	return nil
}

// stage is a change's turn.
func stage(c store.Change) int {
	kind, _, _ := strings.Cut(bare(c.Key), "/")
	gone := c.Verb == store.Delete
	switch kind + "/" {
	case records.AttachmentPrefix:
		if gone {
			return 0
		}
		return 3
	case records.RecordingPrefix:
		if gone {
			return 5
		}
		return 1
	case records.InstancePrefix:
		if gone {
			return 4
		}
		return 2
	}
	return 6
}
