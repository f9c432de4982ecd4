package hostdoor_test

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/hostdoor"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/usage/history"
)

// everything is what the store has, by key.
func (r *replica) everything() map[string]string {
	r.t.Helper()
	page, err := r.store.List(r.t.Context(), store.Range{})
	must(r.t, err)
	all := map[string]string{}
	for _, record := range page.Records {
		all[record.Key] = string(record.Value)
	}
	return all
}

// attempts are all requests of the wire, made by a host for an instance.
func (h *host) attempts(in *openimds.Instance, attached time.Time, operation string, lease store.Lease) map[string]any {
	of := hostlink.Of{Region: home, Process: process}
	now := time.Now()
	counted := []hostlink.Counted{
		{Key: history.SamplePrefix + now.UTC().Format(time.DateOnly) + "/" + in.ID + "/" + h.name, Value: []byte{3}},
	}
	return map[string]any{
		hostlink.PathSeats:     hostlink.SeatsRequest{Of: of, Lease: h.lease, Instances: []string{in.Name}},
		hostlink.PathLeaveSeat: hostlink.SeatRequest{Of: of, Instance: in.Name},
		hostlink.PathApplied:   hostlink.AppliedRequest{Of: of, Instance: in.Name, ID: in.ID, Operation: operation},
		hostlink.PathBound: hostlink.BoundRequest{Of: of, Bindings: []openimds.Binding{
			{Instance: in.Name, CreatedAt: attached, Face: openimds.Face{Boot: "b", Index: 7, MAC: "02:00:00:00:00:66"}, Links: []openimds.GuestLink{{MAC: "02:00:00:00:00:66"}}},
		}},
		hostlink.PathStatus: hostlink.StatusRequest{Of: of, Lease: h.lease, Statuses: []openimds.AttachmentStatus{
			{Instance: in.Name, CreatedAt: attached, State: "failed", Reason: "lies"},
		}},
		hostlink.PathFaults: hostlink.FaultsRequest{Of: of, Instance: in.Name, ID: in.ID, From: now, More: 3},
		hostlink.PathSign:   hostlink.SignRequest{Of: of, Instances: []string{in.Name}},
		hostlink.PathCounts: hostlink.CountsRequest{Records: counted},
		hostlink.PathKeep:   hostlink.LeaseRequest{Of: of, Lease: lease},
		hostlink.PathLeave:  hostlink.LeaseRequest{Of: of, Lease: lease},
	}
}

// The wall: by the certificate of one host nothing is read, changed or found out of what is another's, and an instance
// that is not there has the same answer.
func TestWall(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a, b := r.join("host-a"), r.join("host-b")
	r.create("mine", "of a")
	secret := r.create("theirs", "only for b")
	r.attach("mine", "host-a", "tap0")
	r.attach("theirs", "host-b", "tap0")
	patiently(t, func() error { return b.region.TakeSeats(t.Context(), b.lease, "theirs") })
	patiently(t, func() error { return a.region.TakeSeats(t.Context(), a.lease, "mine") })
	hops := 3
	op, err := r.services[home].UpdateOptions(t.Context(), "theirs", openimds.OptionsUpdate{HopLimit: &hops})
	must(t, err)
	attachment, err := r.services[home].Attachment(t.Context(), "theirs")
	must(t, err)
	kept, _ := a.copied()
	if got, want := keys(t, kept), []string{"attachment/mine", "instance/mine"}; !slices.Equal(got, want) {
		t.Errorf("the host was told of %q", got)
	}

	before := r.everything()
	absent := &openimds.Instance{Name: "nobody", ID: "i-0123456789abcdef0"}
	of := func(in *openimds.Instance, operation string, lease store.Lease) map[string]string {
		answers := map[string]string{}
		for path, body := range a.attempts(in, attachment.CreatedAt, operation, lease) {
			status, answer := a.ask(path, body)
			answers[path] = http.StatusText(status) + " " + strings.NewReplacer(in.Name, "NAME", in.ID, "ID").Replace(answer)
			for _, leak := range []string{"only for b", secret.UUID, string(secret.TokenKey), "host-b", op.ID} {
				if strings.Contains(answer, leak) && leak != operation {
					t.Errorf("%s tells %q: %s", path, leak, answer)
				}
			}
		}
		return answers
	}
	theirs, nobodys := of(secret, op.ID, b.lease), of(absent, openimds.NewOperationID(time.Now()), 1<<40)
	if !reflect.DeepEqual(theirs, nobodys) {
		t.Errorf("what is another host's is told from what is not there:\n%v\n%v", theirs, nobodys)
	}
	if after := r.everything(); !maps.Equal(before, after) {
		for key := range after {
			if before[key] != after[key] {
				t.Errorf("%s was changed: %q", key, after[key])
			}
		}
		t.Fatal("a host has changed what is another's")
	}
	patiently(t, func() error { return b.region.KeepAlive(t.Context(), b.lease) }) // it has lost nothing
	tried := slices.Collect(maps.Keys(theirs))
	for _, path := range hostdoor.Paths() {
		if path != hostlink.PathJoin && path != hostlink.PathRenew && !slices.Contains(tried, path) {
			t.Errorf("nobody has tried %s", path)
		}
	}
	for path, answer := range theirs {
		// A host says of itself that it has no seat: that is true, and tells nothing.
		if ok := strings.HasPrefix(answer, "OK"); ok && path != hostlink.PathLeaveSeat && !strings.Contains(answer, "NAME") && !strings.Contains(answer, "ID") && !strings.Contains(answer, `"signed":null`) {
			t.Errorf("%s: %s", path, answer)
		}
	}
	put := r.refusals("host host-a")
	for _, what := range []string{"TakeSeats", "MarkApplied", "BindAttachments", "ReportAttachments", "FaultsMet", "SignDocuments", "KeepCounts", "KeepHost", "LeaveHost"} {
		if n := len(slices.DeleteFunc(slices.Clone(put), func(w string) bool { return w != what })); n < 2 {
			t.Errorf("%s was refused twice and put down %d times", what, n)
		}
	}
}

// A host has what is its own by the same requests.
func TestOwn(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a := r.join("host-a")
	in := r.create("mine", "of a")
	r.attach("mine", "host-a", "tap0")
	patiently(t, func() error { return a.region.TakeSeats(t.Context(), a.lease, "mine") })
	hops := 3
	op, err := r.services[home].UpdateOptions(t.Context(), "mine", openimds.OptionsUpdate{HopLimit: &hops})
	must(t, err)
	if state := r.instance("mine").Options.State; state != openimds.OptionsPending {
		t.Fatalf("before the host obeys, the options are %s", state)
	}
	attachment, err := r.services[home].Attachment(t.Context(), "mine")
	must(t, err)
	for path, body := range a.attempts(in, attachment.CreatedAt, op.ID, a.lease) {
		if path == hostlink.PathLeave || path == hostlink.PathLeaveSeat {
			continue
		}
		if status, answer := a.ask(path, body); status != http.StatusOK || strings.Contains(answer, "others") || strings.Contains(answer, "refused") {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
	if state := r.instance("mine").Options.State; state != openimds.OptionsApplied {
		t.Errorf("after the host has said that it obeys, the options are %s", state)
	}
	attachment, err = r.services[home].Attachment(t.Context(), "mine")
	must(t, err)
	statuses, err := r.services[home].AttachmentStatuses(t.Context(), []*openimds.Attachment{attachment})
	must(t, err)
	if attachment.Bound == nil || attachment.Bound.Index != 7 || statuses[0].State != "failed" || statuses[0].Reason != "lies" {
		t.Errorf("what the host has told is %+v and %+v", attachment, statuses)
	}
	if refused := r.refusals("host host-a"); len(refused) > 0 {
		t.Errorf("refused: %q", refused)
	}
}

// What was a host's a moment ago is not: neither what it is now nor what becomes of it reaches the host.
func TestMovedAway(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a, b := r.join("host-a"), r.join("host-b")
	in := r.create("roams", "before the move")
	r.attach("roams", "host-a", "tap0")
	patiently(t, func() error { return a.region.TakeSeats(t.Context(), a.lease, "roams") })
	ofA, _ := a.copied()
	ofB, _ := b.copied()
	has := func(kept store.Store, word string) bool {
		got, err := kept.Get(t.Context(), "instance/roams")
		if errors.Is(err, store.ErrNoRecord) {
			return false
		}
		must(t, err)
		now, err := records.DecodeInstance(got)
		must(t, err)
		return string(now.UserData) == word
	}
	if !has(ofA, "before the move") {
		t.Fatal("the host does not have its instance")
	}
	for n := range 20 { // to and fro, as fast as it goes
		r.detach("roams")
		to, kept, was := "host-b", ofB, ofA
		if n%2 == 1 {
			to, kept, was = "host-a", ofA, ofB
		}
		word := "for " + to + " " + openimds.NewUUID()
		data := []byte(word)
		_, err := r.services[home].SetInstance(t.Context(), "roams", control.InstanceUpdate{UserData: &data})
		must(t, err)
		r.attach("roams", to, "tap0")
		eventually(t, "the new host has it", func() bool { return has(kept, word) })
		eventually(t, "the former host has forgotten it", func() bool { return len(keys(t, was)) == 0 })
	}
	r.detach("roams")
	r.attach("roams", "host-b", "tap0")
	attachment, err := r.services[home].Attachment(t.Context(), "roams")
	must(t, err)
	for path, body := range a.attempts(in, attachment.CreatedAt, "none", a.lease) {
		if path == hostlink.PathKeep || path == hostlink.PathLeave {
			continue
		}
		before := r.everything()
		status, answer := a.ask(path, body)
		after := r.everything()
		for _, all := range []map[string]string{before, after} {
			delete(all, records.SeatKey("roams", "host-a")) // it may be given back
			delete(all, records.ServedKey(in.ID, "host-a")) // and until when it had it said
			delete(all, records.CountingKey("host-a"))      // and by which name it counts
			maps.DeleteFunc(all, func(key, _ string) bool { // what it counted before may come late
				return strings.HasPrefix(key, "usage/") && strings.HasSuffix(key, "/host-a")
			})
			key := records.AttachmentPrefix + "roams"
			at, err := records.DecodeAttachment(store.Record{Key: key, Value: []byte(all[key])})
			must(t, err)
			at.From = slices.DeleteFunc(at.From, func(host string) bool { return host == "host-a" }) // with it the new host may begin
			value, err := records.Encode(at)
			must(t, err)
			all[key] = string(value)
		}
		if !maps.Equal(before, after) {
			t.Errorf("%s changes what is another host's by now: %d %s", path, status, answer)
		}
	}
}

// An instance that moves while a host is about to be told of it is told as it is to nobody but the host that has it by then.
func TestMovedWhileTold(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a := r.join("host-a")
	r.join("host-b")
	r.create("roams", "before the move")
	r.attach("roams", "host-a", "tap0")
	moved := false
	r.mu.Lock()
	r.reads = func(key string) {
		if key != records.InstancePrefix+"roams" || moved {
			return
		}
		moved = true
		r.detach("roams")
		r.attach("roams", "host-b", "tap0")
		data := []byte("only for b")
		if _, err := r.services[home].SetInstance(t.Context(), "roams", control.InstanceUpdate{UserData: &data}); err != nil {
			t.Error(err)
		}
	}
	r.mu.Unlock()
	kept, _ := a.copied()
	if !moved {
		t.Fatal("nothing was read")
	}
	if got := keys(t, kept); len(got) != 0 {
		t.Errorf("the former host has %q", got)
	}
	if got := r.everything()["instance/roams"]; got == "" {
		t.Error("the instance is gone")
	}
	if watched, err := kept.List(t.Context(), store.Range{}); err != nil || len(watched.Records) != 1 || watched.Revision != 1 {
		t.Errorf("the former host was told something of it, at revision %d (%v)", watched.Revision, err)
	}
}

// What only the control side shows is no host's to have, and recordings come before the instances that answer them.
func TestToldNoMore(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a := r.join("host-a")
	r.create("mine", "of a")
	r.attach("mine", "host-a", "tap0")
	kept, _ := a.copied()
	got, err := kept.Get(t.Context(), "instance/mine")
	must(t, err)
	for _, member := range []string{"ports", "username", "keyPairName", "addressType"} {
		if strings.Contains(string(got.Value), `"`+member+`"`) {
			t.Errorf("a host is told of %s: %s", member, got.Value)
		}
	}
	now, err := records.DecodeInstance(got)
	must(t, err)
	if want := r.instance("mine"); now.ID != want.ID || string(now.TokenKey) != string(want.TokenKey) {
		t.Error("the host does not have what it serves by")
	}
}

// A host that is evicted is cut off: its stream ends, every request says so, and its client knows.
func TestEvicted(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a := r.join("host-a")
	r.create("mine", "of a")
	r.attach("mine", "host-a", "tap0")
	a.copied()
	enrolled, err := r.store.Get(t.Context(), records.EnrolledKey("host-a"))
	must(t, err)
	was, err := records.Decode[records.Enrolled](enrolled)
	must(t, err)
	end, err := was.End("host-a")
	must(t, err)

	// An enrolment of which the store has no word, or that cannot be read, is none that was ended: the host goes on with
	// what it knows.
	for value, code := range map[string]string{"": hostlink.CodeRefused, "damaged": hostlink.CodeAway} {
		c := store.Change{Verb: store.Put, Key: enrolled.Key, Value: []byte(value), If: store.Whatever}
		if value == "" {
			c.Verb = store.Delete
		}
		_, err := r.store.Commit(t.Context(), c)
		must(t, err)
		eventually(t, "the answer "+code, func() bool {
			_, answer := a.ask(hostlink.PathKeep, struct{}{})
			return strings.Contains(answer, `"`+code+`"`)
		})
	}
	select {
	case <-a.client.Evicted():
		t.Fatal("a host that nobody has evicted is told that it was")
	default:
	}

	_, err = r.store.Commit(t.Context(), store.Change{Verb: store.Delete, Key: enrolled.Key, If: store.Whatever}, end)
	must(t, err)
	select {
	case <-a.client.Evicted():
	case <-time.After(patience):
		t.Fatal("the host does not hear that it was evicted")
	}
	for _, path := range append(hostdoor.Paths(), hostlink.PathFollow) {
		if status, answer := a.ask(path, struct{}{}); status != http.StatusForbidden || !strings.Contains(answer, hostlink.CodeEvicted) {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
	if put := r.refusals("host host-a"); !slices.Contains(put, "FollowAsHost") {
		t.Errorf("put down: %q", put)
	}
}

// A replica whose store is away tells hosts nothing more, so that they ask another one: what it knows may be of yesterday.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a := r.join("host-a")
	r.create("mine", "of a")
	r.attach("mine", "host-a", "tap0")
	stream := a.follow()
	r.mu.Lock()
	r.away = true
	r.mu.Unlock()
	_, _ = io.ReadAll(stream) // it ends by itself; in the midst of a message with an error
	if status, answer := a.ask(hostlink.PathFollow, hostlink.FollowRequest{}); status != http.StatusServiceUnavailable || !strings.Contains(answer, hostlink.CodeAway) {
		t.Errorf("the next stream: %d %s", status, answer)
	}
}

// What is no request of a host's changes nothing and says what is wrong with it.
func TestMalformed(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a := r.join("host-a")
	of := hostlink.Of{Region: home, Process: process}
	long := strings.Repeat("x", hostlink.MaxText+1)
	for what, c := range map[string]struct {
		path string
		body any
	}{
		"another region":      {hostlink.PathKeep, hostlink.LeaseRequest{Of: hostlink.Of{Region: "us-west-2", Process: process}}},
		"no process":          {hostlink.PathKeep, hostlink.LeaseRequest{Of: hostlink.Of{Region: home}}},
		"a name twice":        {hostlink.PathKeep, json.RawMessage(`{"region":"us-east-1","region":"eu-west-1"}`)},
		"too many":            {hostlink.PathSeats, hostlink.SeatsRequest{Of: of, Lease: a.lease, Instances: slices.Repeat([]string{"x"}, hostlink.MaxItems+1)}},
		"too many counts":     {hostlink.PathCounts, hostlink.CountsRequest{Records: slices.Repeat([]hostlink.Counted{{Key: "x"}}, hostlink.MaxCounted+1)}},
		"a long reason":       {hostlink.PathStatus, hostlink.StatusRequest{Of: of, Lease: a.lease, Statuses: []openimds.AttachmentStatus{{Instance: "mine", State: "failed", Reason: long}}}},
		"no state":            {hostlink.PathStatus, hostlink.StatusRequest{Of: of, Lease: a.lease, Statuses: []openimds.AttachmentStatus{{Instance: "mine", State: "unheard of"}}}},
		"no name":             {hostlink.PathSeats, hostlink.SeatsRequest{Of: of, Lease: a.lease, Instances: []string{long}}},
		"no name to bind":     {hostlink.PathBound, hostlink.BoundRequest{Of: of, Bindings: []openimds.Binding{{Instance: long}}}},
		"no name of a status": {hostlink.PathStatus, hostlink.StatusRequest{Of: of, Lease: a.lease, Statuses: []openimds.AttachmentStatus{{Instance: long, State: "failed"}}}},
		"no name to sign":     {hostlink.PathSign, hostlink.SignRequest{Of: of, Instances: []string{long}}},
		"no key of counts":    {hostlink.PathCounts, hostlink.CountsRequest{Records: []hostlink.Counted{{Key: long}}}},
		"a long mark":         {hostlink.PathBound, hostlink.BoundRequest{Of: of, Bindings: []openimds.Binding{{Instance: "mine", Face: openimds.Face{Alias: long}}}}},
		"a large body":        {hostlink.PathKeep, map[string]any{"region": strings.Repeat("x", hostlink.MaxBody)}},
		"why, at length":      {hostlink.PathJoin, hostlink.JoinRequest{Of: of, Why: long}},
		"no request there is": {"/v1/everything", struct{}{}},
	} {
		if status, answer := a.ask(c.path, c.body); status < 400 || status >= 500 || !strings.Contains(answer, hostlink.CodeMalformed) {
			t.Errorf("%s: %d %s", what, status, answer)
		}
	}
}
