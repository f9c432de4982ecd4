package control

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// FleetInstance is what one sees of an instance among many. It is shared: nobody changes it.
type FleetInstance struct {
	Name, ID              string
	State                 openimds.InstanceState
	Zone                  string
	BlueprintID, BundleID string
	Options               openimds.MetadataOptions
	PrivateIP             netip.Addr // not valid: it has none of IPv4
	Tags                  []openimds.Tag
	CreatedAt             time.Time

	words string // what a search looks at, in small letters
}

func readFleetInstance(r store.Record) (*FleetInstance, error) {
	in, err := read[*openimds.Instance](r)
	if err != nil {
		return nil, err
	}
	told := in.Told()
	f := &FleetInstance{
		Name: in.Name, ID: in.ID, State: in.State, Zone: in.Zone, BlueprintID: in.BlueprintID, BundleID: in.BundleID,
		Options: in.Options, Tags: in.Tags, CreatedAt: in.CreatedAt,
	}
	if len(told.NICs) > 0 && len(told.NICs[0].PrivateIPv4) > 0 {
		f.PrivateIP = told.NICs[0].PrivateIPv4[0]
	}
	words := []string{f.Name, f.ID, f.Zone, f.BlueprintID, f.BundleID}
	if f.PrivateIP.IsValid() {
		words = append(words, f.PrivateIP.String())
	}
	for _, t := range f.Tags {
		words = append(words, t.Key+"="+t.Value)
	}
	f.words = strings.ToLower(strings.Join(words, "\n")) // a line feed is in no word that is searched for
	return f, nil
}

func readAttachment(r store.Record) (*openimds.Attachment, error) {
	a, err := records.DecodeAttachment(r)
	if err != nil {
		return nil, nil // it is left out, as everywhere
	}
	return a, nil
}

// Access is what of the metadata service an instance's options let in.
type Access string

// The kinds of access: every instance has one.
const (
	AccessV1AndV2  Access = "v1AndV2"
	AccessV2Only   Access = "v2Only"
	AccessDisabled Access = "disabled"
)

// Access is what its options let in. It is not obeyed yet where they are pending.
func (f *FleetInstance) Access() Access {
	switch {
	case f.Options.Endpoint != openimds.EndpointEnabled:
		return AccessDisabled
	case f.Options.Tokens == openimds.TokensOptional:
		return AccessV1AndV2
	}
	return AccessV2Only
}

// The words of an [InstanceSearch].
const (
	FilterAll     = "all"
	FilterPending = "pending" // the others are those of Access

	SortName    = "name"
	SortState   = "state"
	SortTokens  = "tokens"
	SortNoToken = "noToken"
	SortCreated = "created"
)

// MaxSearchPage is how many instances one page of a search has at most.
const MaxSearchPage = 200

// InstanceSearch says which instances are looked for, and in which order.
type InstanceSearch struct {
	// Query has words, of which each is a part of an instance's name, id, private address, zone, blueprint or bundle,
	// or of a tag as key=value; capitals and small letters are alike.
	Query string
	// Filter is FilterAll, FilterPending, or one of Access; empty: all.
	Filter string
	// SortBy is one of the words above; empty: the name. Instances that are alike in it are by name.
	SortBy     string
	Descending bool
	// Since is when the time begins of which the calls without a token are told, up to now.
	Since time.Time
	// PageSize is up to [MaxSearchPage], and Page counts from 1.
	PageSize, Page int
}

// FoundInstance is one that was found.
type FoundInstance struct {
	*FleetInstance
	Attached bool
	// NoToken is how many calls without a token it answered in that time, as far as Known says.
	NoToken int64
	Known   openimds.Known
	// Unknown is how much of the time is not known.
	Unknown time.Duration
}

// NoTokenKnown says whether NoToken may be told: a zero only where all of the time is known.
func (f *FoundInstance) NoTokenKnown() bool { return f.Known.Complete || f.NoToken > 0 }

// SearchInstances returns one page of the instances that are looked for, and how many there are in all.
//
// Errors: InvalidInput/OutOfRange for the page or its size, InvalidInput/OutOfRange for a since that is farther back than
// [openimds.FleetKept]; OperationFailure/TooMany in a region of more than 100,000 instances; Unavailable/HistoryAway.
func (s *Service) SearchInstances(ctx context.Context, q InstanceSearch) (page []FoundInstance, total int, err error) {
	if q.PageSize < 1 || q.PageSize > MaxSearchPage || q.Page < 1 {
		return nil, 0, openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "A page has 1 to %d instances, and pages count from 1", MaxSearchPage)
	}
	now := s.cfg.Now()
	if err := checkFleetTime(q.Since, now); err != nil {
		return nil, 0, err
	}
	all, err := s.instances.all(ctx, s.store)
	if err != nil {
		return nil, 0, err
	}
	all = slices.DeleteFunc(all, func(f *FleetInstance) bool { return !q.wants(f) })
	var counted *fleetCounts
	if q.SortBy == SortNoToken { // else those of the page will do
		if counted, err = s.counted(ctx, openimds.MetricNoToken, q.Since, now.Add(1)); err != nil {
			return nil, 0, err
		}
	}
	q.sort(all, counted)
	total = len(all)
	all = all[min((q.Page-1)*q.PageSize, total):]
	all = all[:min(q.PageSize, len(all))]
	for _, f := range all {
		attached, err := s.Attachment(ctx, f.Name)
		if err != nil {
			return nil, 0, err
		}
		found := FoundInstance{FleetInstance: f, Attached: attached != nil}
		of := counted
		if of == nil {
			if of, err = s.countedOf(ctx, f, openimds.MetricNoToken, q.Since, now.Add(1)); err != nil {
				return nil, 0, err
			}
		}
		found.NoToken, found.Known, found.Unknown = of.of(f)
		page = append(page, found)
	}
	return page, total, nil
}

// checkFleetTime refuses a time of which single samples are gone, or that has not begun.
func checkFleetTime(since, now time.Time) error {
	if since.After(now) {
		return openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "The time begins in the future")
	}
	if since.Before(now.Add(-openimds.FleetKept)) {
		return openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "What many instances counted together is known of the last %d days", openimds.FleetKept/(24*time.Hour))
	}
	return nil
}

func (q *InstanceSearch) wants(f *FleetInstance) bool {
	switch q.Filter {
	case "", FilterAll:
	case FilterPending:
		if f.Options.State != openimds.OptionsPending {
			return false
		}
	default:
		if string(f.Access()) != q.Filter {
			return false
		}
	}
	for word := range strings.FieldsSeq(strings.ToLower(q.Query)) {
		if !strings.Contains(f.words, word) {
			return false
		}
	}
	return true
}

// sort puts the instances in order, which are by name.
func (q *InstanceSearch) sort(all []*FleetInstance, counted *fleetCounts) {
	access := map[Access]int{AccessV1AndV2: 0, AccessV2Only: 1, AccessDisabled: 2}
	var by func(a, b *FleetInstance) int
	switch q.SortBy {
	case SortState:
		by = func(a, b *FleetInstance) int { return strings.Compare(string(a.State), string(b.State)) }
	case SortTokens:
		by = func(a, b *FleetInstance) int { return cmp.Compare(access[a.Access()], access[b.Access()]) }
	case SortNoToken:
		ranks := make(map[*FleetInstance]int64, len(all))
		for _, f := range all {
			ranks[f] = counted.rank(f)
		}
		by = func(a, b *FleetInstance) int { return cmp.Compare(ranks[a], ranks[b]) }
	case SortCreated:
		by = func(a, b *FleetInstance) int { return a.CreatedAt.Compare(b.CreatedAt) }
	default:
		if q.Descending {
			slices.Reverse(all)
		}
		return
	}
	slices.SortStableFunc(all, func(a, b *FleetInstance) int {
		if q.Descending {
			a, b = b, a
		}
		return by(a, b)
	})
}
