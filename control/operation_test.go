package control_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

func ids(ops []openimds.Operation) []string {
	var ids []string
	for _, op := range ops {
		ids = append(ids, op.ID)
	}
	return ids
}

// TestOperations makes operations on two resources and reads them back: all of them, the latest
// first, by pages of every size, and those of a resource that is gone.
func TestOperations(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	var all, web []string
	note := func(ops []openimds.Operation, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, op := range ops {
			all = append(all, op.ID)
			if op.Resource == "web" {
				web = append(web, op.ID)
			}
		}
	}
	if _, err := f.DefaultKeyPair(ctx); err != nil { // has an operation of its own
		t.Fatal(err)
	}
	f.sleep(time.Second)
	first, _, err := f.Operations(ctx, "", 0)
	if err != nil || len(first) != 1 || first[0].Type != "CreateKeyPair" || first[0].Zone != "all" {
		t.Fatalf("operations %+v, %v", first, err)
	}
	note(first, nil)
	note(f.CreateInstances(ctx, launch("web")))
	note(f.CreateInstances(ctx, launch("web-2"))) // another's name begins with that of the first
	for n := range 5 {
		note(one(f.UpdateOptions(ctx, "web", openimds.OptionsUpdate{HopLimit: new(2 + n)})))
		note(f.RebootInstance(ctx, "web-2"))
	}
	note(f.DeleteInstance(ctx, "web"))
	note(f.CreateInstances(ctx, launch("web")))
	slices.Reverse(all)
	slices.Reverse(web)
	for limit := 0; limit <= len(all)+1; limit++ {
		for resource, want := range map[string][]string{"": all, "web": web} {
			var got []string
			for after, pages := "", 0; pages <= len(all); pages++ {
				page, next, err := f.Operations(ctx, after, limit)
				if resource != "" {
					page, next, err = f.OperationsOf(ctx, resource, after, limit)
				}
				if err != nil || limit > 0 && len(page) > limit {
					t.Fatalf("a page of %d has %d operations, %v", limit, len(page), err)
				}
				if got = append(got, ids(page)...); next == "" {
					break
				}
				after = next
			}
			if !slices.Equal(got, want) {
				t.Errorf("the operations of %q by pages of %d are\n%v, want\n%v", resource, limit, got, want)
			}
		}
	}
	for _, id := range all {
		if op, err := f.Operation(ctx, id); err != nil || op.ID != id {
			t.Errorf("operation %s: %+v, %v", id, op, err)
		}
		if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
			t.Errorf("%s is no UUID of version 7", id)
		}
	}
	_, err = f.Operation(ctx, "no-such-id")
	refused(t, err, openimds.NotFound, openimds.DoesNotExist, "The operation no-such-id does not exist")
	if ops, next, err := f.OperationsOf(ctx, "never-there", "", 10); err != nil || len(ops) != 0 || next != "" {
		t.Errorf("the operations of nothing are %v, %q, %v", ops, next, err)
	}
}

// TestOperationFollowsOptions: operation and options change their state in one commit, so that no
// reader ever sees one without the other.
func TestOperationFollowsOptions(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web")
	op := f.update("web", openimds.OptionsUpdate{HopLimit: new(2)})
	if op.Status != openimds.OperationStarted || op.Terminal() || op.Zone != "us-east-1a" || !op.CreatedAt.Equal(op.StatusChangedAt) {
		t.Errorf("the operation is %+v", op)
	}
	before := f.revision()
	f.sleep(time.Minute)
	f.apply("web")
	events, err := f.store.Watch("", before).Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int64{}
	for _, e := range events {
		if !strings.HasPrefix(e.Key, "audit") {
			seen[e.Key] = e.Revision
		}
	}
	if seen["instance/web"] == 0 || seen["instance/web"] != seen[records.OperationKey(op.ID)] || len(seen) != 2 {
		t.Errorf("the mark wrote %v", seen)
	}
	after, err := f.Operation(t.Context(), op.ID)
	if err != nil || !after.Terminal() || after.Status != openimds.OperationSucceeded || !after.StatusChangedAt.After(op.StatusChangedAt) || !after.CreatedAt.Equal(op.CreatedAt) {
		t.Errorf("the operation became %+v, %v", after, err)
	}
}

func TestPruneOperations(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("web", "db")
	waiting := f.update("web", openimds.OptionsUpdate{HopLimit: new(2)})
	for range 120 { // more than are pruned in one commit
		if _, err := f.RebootInstance(ctx, "db"); err != nil {
			t.Fatal(err)
		}
	}
	f.sleep(time.Hour)
	if n, err := f.PruneOperations(ctx, 2*time.Hour, 124); n != 0 || err != nil {
		t.Errorf("%d young operations were pruned, %v", n, err)
	}
	late, err := f.RebootInstance(ctx, "db")
	if err != nil {
		t.Fatal(err)
	}
	// One for each instance, and the reboots.
	if n, err := f.PruneOperations(ctx, 30*time.Minute, 1000); n != 122 || err != nil {
		t.Errorf("%d operations were pruned, %v; want 122", n, err)
	}
	left, _, err := f.Operations(ctx, "", 0)
	if err != nil || !slices.Equal(ids(left), []string{late[0].ID, waiting.ID}) {
		t.Errorf("left are %+v, %v; want the late one and the one under way", left, err)
	}
	page, err := f.store.List(ctx, store.Range{Prefix: records.OperationOfPrefix})
	if err != nil || len(page.Records) != 2 {
		t.Errorf("%d entries are left in the index, %v", len(page.Records), err)
	}
	f.apply("web")
	if op, err := f.Operation(ctx, waiting.ID); err != nil || !op.Terminal() {
		t.Errorf("what was under way ended as %+v, %v", op, err)
	}
}

// TestPruneUnread: an operation that cannot be read stays, is told of, and keeps no other.
func TestPruneUnread(t *testing.T) {
	f := newFixture(t, nil)
	unread := records.OperationsBefore(f.clock().Add(-time.Hour)) + "unread"
	if _, err := f.store.Commit(t.Context(), store.Change{Verb: store.Put, Key: unread, Value: []byte(`{"schema":9,"data":{}}`), If: store.IfAbsent}); err != nil {
		t.Fatal(err)
	}
	f.create("web")
	f.sleep(time.Hour)
	if n, err := f.PruneOperations(t.Context(), 30*time.Minute, 1000); n != 1 || err == nil || !strings.Contains(err.Error(), unread) {
		t.Errorf("%d operations were pruned, %v", n, err)
	}
	if _, err := f.store.Get(t.Context(), unread); err != nil {
		t.Error(err)
	}
}

// TestPruneSurplus: beyond a number of operations the earliest go, however young, but none that is under way.
func TestPruneSurplus(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web")
	waiting := f.update("web", openimds.OptionsUpdate{HopLimit: new(2)})
	var last []string
	for range 2300 {
		ops, err := f.RebootInstance(t.Context(), "web")
		if err != nil {
			t.Fatal(err)
		}
		last = append([]string{ops[0].ID}, last...)
	}
	for _, keep := range []int{5000, 2302, 10} {
		if keep > 10 {
			f.sleep(2 * time.Hour)
		} else {
			f.sleep(-4 * time.Hour) // the audit may still ask for them
		}
		if n, err := f.PruneOperations(t.Context(), 24*time.Hour, keep); n != 0 || err != nil {
			t.Errorf("%d operations of 2302 were pruned, %v; %d are kept", n, err, keep)
		}
	}
	f.sleep(4 * time.Hour)
	if n, err := f.PruneOperations(t.Context(), 24*time.Hour, 1500); n != 801 || err != nil {
		t.Errorf("%d operations were pruned, %v; want 801", n, err)
	}
	left, _, err := f.Operations(t.Context(), "", 0)
	if want := append(last[:1500:1500], waiting.ID); err != nil || !slices.Equal(ids(left), want) {
		t.Errorf("%d are left, %v; want the latest and the one under way", len(left), err)
	}
}
