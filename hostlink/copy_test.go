package hostlink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// watched calls back after each commit that writes.
type watched struct {
	*mem.Store
	after func()
}

func (w *watched) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	revision, err := w.Store.Commit(ctx, changes...)
	if err == nil && w.after != nil {
		w.after()
	}
	return revision, err
}

// life is one life of an instance of some name: its id, where it is attached, and what is asked of its guests.
type life struct {
	id       string
	attached time.Time
	tokens   openimds.TokensMode
}

func (l life) records(t *testing.T, name string) []Record {
	t.Helper()
	in := &openimds.Instance{Name: name, ID: l.id, Options: openimds.DefaultOptions(), TokenKey: openimds.NewTokenKey()}
	in.Options.Tokens = l.tokens
	in.UserData = []byte(strings.Repeat(l.id, 400)) // so that a list is of many commits
	value, err := records.EncodeInstance(in)
	must(t, err)
	all := []Record{{Region: "us-east-1", Key: "instance/" + name, Value: value}}
	if !l.attached.IsZero() {
		place, err := records.Encode(&openimds.Attachment{Instance: name, Host: "host-a", Interface: "tap0", CreatedAt: l.attached})
		must(t, err)
		all = append(all, Record{Region: "us-east-1", Key: "attachment/" + name, Value: place})
	}
	return all
}

func openTestCopy(t *testing.T, s store.Store, host string) *Copy {
	t.Helper()
	c, err := OpenCopy(t.Context(), s, host, slog.New(slog.DiscardHandler))
	must(t, err)
	return c
}

// list tells a copy all there is, as a stream does.
func list(t *testing.T, c *Copy, all []Record) {
	t.Helper()
	s := stream{copy: c}
	must(t, s.take(t.Context(), Message{Hello: &Hello{Version: Version, Host: "host-a", Home: "us-east-1", Regions: []string{"us-east-1"}}}))
	for _, r := range all {
		must(t, s.take(t.Context(), Message{Changes: []Record{r}}))
	}
	must(t, s.take(t.Context(), Message{Listed: true}))
}

// A list that is too long for one commit is never half-way more permissive: at each place is the instance that was there
// before or is there now, by its options of then or of now, and never one at another's place.
func TestNeverMorePermissiveHalfWay(t *testing.T) {
	kept := &watched{Store: mem.New()}
	c := openTestCopy(t, kept, "host-a")
	began := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	before, after := map[string]life{}, map[string]life{}
	for n := range 400 {
		name := fmt.Sprintf("web-%03d", n)
		was := life{id: fmt.Sprintf("i-%017d", n), attached: began, tokens: openimds.TokensOptional}
		before[name] = was
		switch n % 5 {
		case 0: // it is restricted
			was.tokens = openimds.TokensRequired
			after[name] = was
		case 1: // another one has its name, at another place
			after[name] = life{id: fmt.Sprintf("i-%017d", 1000+n), attached: began.Add(time.Hour), tokens: openimds.TokensRequired}
		case 2: // another one has its name, and is nowhere
			after[name] = life{id: fmt.Sprintf("i-%017d", 1000+n), tokens: openimds.TokensOptional}
		case 3: // it stays
			after[name] = was
		}
		if n%5 == 4 { // it is there no more, and one is that was not
			after["new-"+name] = life{id: fmt.Sprintf("i-%017d", 2000+n), attached: began, tokens: openimds.TokensRequired}
		}
	}
	recordsOf := func(lives map[string]life) (all []Record) {
		for name, l := range lives {
			all = append(all, l.records(t, name)...)
		}
		return all
	}
	list(t, c, recordsOf(before))
	commits := 0
	kept.after = func() {
		commits++
		page, err := kept.List(t.Context(), store.Range{})
		must(t, err)
		instances := map[string]*openimds.Instance{}
		for _, r := range page.Records {
			if strings.HasPrefix(r.Key, "instance/") {
				in, err := records.DecodeInstance(r)
				must(t, err)
				instances[in.Name] = in
			}
		}
		for _, r := range page.Records {
			if !strings.HasPrefix(r.Key, "attachment/") {
				continue
			}
			a, err := records.DecodeAttachment(r)
			must(t, err)
			in := instances[a.Instance]
			if in == nil {
				t.Fatalf("after %d commits %s is attached and is not there", commits, a.Instance)
			}
			now := life{in.ID, a.CreatedAt.UTC(), in.Options.Tokens}
			if now != before[a.Instance] && now != after[a.Instance] {
				t.Fatalf("after %d commits %s is %+v, neither %+v nor %+v", commits, a.Instance, now, before[a.Instance], after[a.Instance])
			}
		}
	}
	list(t, c, recordsOf(after))
	if commits < 3 {
		t.Errorf("%d commits are no way that could be left half-way", commits)
	}
	kept.after = nil
	page, err := kept.List(t.Context(), store.Range{Prefix: "instance/"})
	must(t, err)
	if len(page.Records) != len(after) {
		t.Errorf("%d instances are kept, %d are there", len(page.Records), len(after))
	}
}

// Only differences are written, and what the replica cannot read stays as it was.
func TestDifferences(t *testing.T) {
	kept := &watched{Store: mem.New()}
	c := openTestCopy(t, kept, "host-a")
	web := life{id: "i-0", attached: time.Unix(1, 0).UTC(), tokens: openimds.TokensRequired}.records(t, "web")
	list(t, c, web)
	kept.after = func() { t.Error("what has not changed was written") }
	list(t, c, web)
	list(t, c, []Record{{Region: "us-east-1", Key: "instance/web", Unread: true}, web[1]})
	kept.after = nil
	r, err := kept.Get(t.Context(), "instance/web")
	must(t, err)
	if string(r.Value) != string(web[0].Value) {
		t.Errorf("what the replica cannot read has become %s", r.Value)
	}
	list(t, c, nil)
	page, err := kept.List(t.Context(), store.Range{})
	must(t, err)
	if len(page.Records) != 1 || page.Records[0].Key != aboutKey {
		t.Errorf("with nothing served there is %v", page.Records)
	}
}

// A copy is of one host: another one begins without it. What is written is found at the next start.
func TestCopyOfAnotherHost(t *testing.T) {
	kept := mem.New()
	c := openTestCopy(t, kept, "host-a")
	if _, known := c.About(); known {
		t.Fatal("something is known of nothing")
	}
	list(t, c, life{id: "i-0", tokens: openimds.TokensOptional}.records(t, "web"))
	if about, known := openTestCopy(t, kept, "host-a").About(); !known || about.Home != "us-east-1" || !slices.Equal(about.Regions, []string{"us-east-1"}) {
		t.Errorf("at the next start it is known of %+v", about)
	}
	if _, known := openTestCopy(t, kept, "host-b").About(); known {
		t.Error("a host takes another one's copy for its own")
	}
	if page, err := kept.List(t.Context(), store.Range{}); err != nil || len(page.Records) != 0 {
		t.Errorf("another host keeps %v (%v)", page.Records, err)
	}
}

// A replica that does not have a region yet which another one has takes no guest away; a start without that region does.
func TestReplicaWithoutRegion(t *testing.T) {
	kept := mem.New()
	c := openTestCopy(t, kept, "host-a")
	there, here := "eu-west-1", "us-east-1"
	tell := func(c *Copy, regions ...string) {
		t.Helper()
		s := stream{copy: c}
		must(t, s.take(t.Context(), Message{Hello: &Hello{Version: Version, Host: "host-a", Home: here, Regions: regions}}))
		for _, region := range regions {
			r := life{id: "i-0", tokens: openimds.TokensRequired}.records(t, "web")[0]
			r.Region = region
			must(t, s.take(t.Context(), Message{Changes: []Record{r}}))
		}
		must(t, s.take(t.Context(), Message{Listed: true}))
	}
	known := func(region string) bool {
		_, err := kept.Get(t.Context(), About{Home: here}.Prefix(region)+"instance/web")
		return err == nil
	}
	for n, regions := range [][]string{{here}, {here, there}, {here}, {here}, {here, there}, {here}} {
		tell(c, regions...)
		if known(there) != (n > 0) || !known(here) {
			t.Errorf("after %d replicas, the last of which has %q: %t and %t are known", n, regions, known(here), known(there))
		}
	}
	c = openTestCopy(t, kept, "host-a")
	tell(c, here)
	if known(there) || !known(here) {
		t.Error("what no replica has is kept for ever")
	}
	tell(c, here, there)
	tell(openTestCopy(t, kept, "host-a"), here) // which has begun with it
	if !known(there) {
		t.Error("a region goes with a start")
	}
}

// What is forgotten is not known at the next start however far that came, and comes back by nothing that a stream tells.
func TestForget(t *testing.T) {
	kept := &watched{Store: mem.New()}
	c := openTestCopy(t, kept, "host-a")
	var all []Record
	for n := range 150 { // more than goes at once
		all = append(all, life{id: "i-0", attached: time.Unix(1, 0).UTC(), tokens: openimds.TokensRequired}.records(t, fmt.Sprintf("web-%d", n))...)
	}
	list(t, c, all)
	commits := 0
	kept.after = func() {
		commits++
		page, err := kept.List(t.Context(), store.Range{Prefix: aboutKey})
		must(t, err)
		if len(page.Records) > 0 {
			t.Errorf("killed after %d commits it would serve from what it has", commits)
		}
	}
	must(t, c.Forget(t.Context()))
	if commits < 4 {
		t.Errorf("it was forgotten in %d commits", commits)
	}
	kept.after = nil
	s := stream{copy: c}
	must(t, s.take(t.Context(), Message{Hello: &Hello{Version: Version, Host: "host-a", Home: "us-east-1", Regions: []string{"us-east-1"}}}))
	must(t, s.take(t.Context(), Message{Changes: all[:1]}))
	if err := s.take(t.Context(), Message{Listed: true}); !errors.Is(err, ErrEvicted) {
		t.Errorf("what is told afterwards: %v", err)
	}
	if page, err := kept.List(t.Context(), store.Range{}); err != nil || len(page.Records) != 0 {
		t.Errorf("%d records are left (%v)", len(page.Records), err)
	}
}

// What a replica may not tell a host is not taken, whatever goes wrong at the replica. A kind of record that is not known is
// of a later release, and passed over.
func TestNotTaken(t *testing.T) {
	hello := Message{Hello: &Hello{Version: Version, Host: "host-a", Home: "us-east-1", Regions: []string{"us-east-1"}}}
	another, newer := *hello.Hello, *hello.Hello
	another.Host, newer.Version = "host-b", Version+1
	record := func(region, key string) Message {
		return Message{Changes: []Record{{Region: region, Key: key, Value: []byte("{}")}}}
	}
	for what, messages := range map[string][]Message{
		"no hello":        {record("us-east-1", "instance/web")},
		"two hellos":      {hello, hello},
		"another host's":  {{Hello: &another}},
		"another version": {{Hello: &newer}},
		"another region":  {hello, record("eu-west-1", "instance/web"), {Listed: true}},
	} {
		s := stream{copy: openTestCopy(t, mem.New(), "host-a")}
		var err error
		for _, m := range messages {
			if err == nil {
				err = s.take(t.Context(), m)
			}
		}
		if err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	for what, key := range map[string]string{"a key pair": "keypair/web", "the copy's own": aboutKey, "a signature": signedPrefix + "i-0", "no name": "instance/"} {
		kept := mem.New()
		s := stream{copy: openTestCopy(t, kept, "host-a")}
		for _, m := range []Message{hello, record("us-east-1", key), {Listed: true}, record("us-east-1", key)} {
			if err := s.take(t.Context(), m); err != nil {
				t.Errorf("%s is not passed over: %v", what, err)
			}
		}
		if page, err := kept.List(t.Context(), store.Range{}); err != nil || len(page.Records) != 1 || page.Records[0].Key != aboutKey || string(page.Records[0].Value) == "{}" {
			t.Errorf("%s was taken: %+v, %v", what, page.Records, err)
		}
	}
}
