package control_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/audit/storelog"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// sharedEntries are all that is in the log of all servers, the latest first.
func (f *fixture) sharedEntries() []openimds.AuditEntry {
	f.t.Helper()
	page, err := storelog.New(f.store, "").Entries(f.t.Context(), openimds.AuditQuery{Most: 1000})
	if err != nil {
		f.t.Fatal(err)
	}
	return page.Entries
}

// TestSharedAudit: in a store that servers share each change has its entry in its own commit, and what was not made has
// none, whoever else writes; of what commits nothing there is an entry as well, or it is not done.
func TestSharedAudit(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("web")
	for _, e := range f.sharedEntries() {
		r, err := f.store.Get(ctx, records.OperationKey(e.Change))
		if err != nil {
			t.Fatal(err)
		}
		told, err := f.store.List(ctx, store.Range{Prefix: records.AuditOfKey("Instance/web", "")})
		if err != nil || len(told.Records) != 1 || told.Records[0].Revision != r.Revision {
			t.Errorf("the change is of revision %d, what is told of it: %+v", r.Revision, told.Records)
		}
	}
	var writers sync.WaitGroup
	for n := range 8 {
		writers.Go(func() {
			for i := range 4 {
				if _, err := f.UpdateOptions(ctx, "web", openimds.OptionsUpdate{HopLimit: new(1 + (n*4+i)%64)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	told := map[string]int{}
	for _, e := range f.sharedEntries() {
		if e.What == "UpdateInstanceMetadataOptions" {
			told[e.Change]++
		}
	}
	ops, _, err := f.OperationsOf(ctx, "web", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	for _, op := range ops {
		if op.Type == "UpdateInstanceMetadataOptions" {
			if made++; told[op.ID] != 1 {
				t.Errorf("the operation %s has %d entries", op.ID, told[op.ID])
			}
		}
	}
	if made != 32 || len(told) != made {
		t.Errorf("%d changes were made, %d are told", made, len(told))
	}
}

// auditless is a store that takes no audit records.
type auditless struct{ store.Store }

func (s auditless) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	for _, c := range changes {
		if strings.HasPrefix(c.Key, records.AuditPrefix) {
			return 0, errors.New("the store is away")
		}
	}
	return s.Store.Commit(ctx, changes...)
}

// signer signs, unless it cannot.
type signer struct{ err error }

func (s signer) SignReport(openimds.ReportStatement) (openimds.ReportSignature, error) {
	return openimds.ReportSignature{}, s.err
}
func (signer) ReportKey() []byte { return nil }

// TestSharedAuditAlone: a report is signed once the log of all servers tells of it, which is told too if it was not after all.
func TestSharedAuditAlone(t *testing.T) {
	digest := strings.Repeat("a", 64)
	f := newFixture(t, func(c *control.Config, _ *store.Store) { c.Reports = signer{} })
	if _, err := f.SignReport(t.Context(), digest); err != nil {
		t.Fatal(err)
	}
	f2 := newFixture(t, func(c *control.Config, _ *store.Store) { c.Reports = signer{errors.New("no key")} })
	if _, err := f2.SignReport(t.Context(), digest); err == nil {
		t.Error("it is signed")
	}
	var what []string
	for _, e := range slices.Concat(f.sharedEntries(), f2.sharedEntries()) {
		what = append(what, fmt.Sprint(e.What, " ", e.Resource[:7], " ", e.Failure))
	}
	if want := []string{"SignReport Report/ ", "SignReport Report/ not signed: no key", "SignReport Report/ "}; !slices.Equal(what, want) {
		t.Errorf("%q", what)
	}
	f3 := newFixture(t, func(c *control.Config, s *store.Store) { c.Reports = signer{}; *s = auditless{*s} })
	if _, err := f3.SignReport(t.Context(), digest); openimds.CodeOf(err) != openimds.AuditAway {
		t.Errorf("without its entry: %v", err)
	}
}
