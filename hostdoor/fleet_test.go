package hostdoor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// follower is a host that follows as an agent does, over connections on which all bytes are counted. What it is told is
// what its copy is made to have.
type follower struct {
	*host
	client   *hostlink.Client
	kept     *countedCopy
	copy     *hostlink.Copy
	received atomic.Int64
	end      func()
}

// countedCopy counts the commits to a copy that have records of a replica, and those records.
type countedCopy struct {
	*mem.Store
	messages, told atomic.Int64
}

// Commit implements [store.Store].
func (c *countedCopy) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	n := 0
	for _, change := range changes {
		if change.Key != "copy" {
			n++
		}
	}
	if n > 0 {
		c.messages.Add(1)
		c.told.Add(int64(n))
	}
	return c.Store.Commit(ctx, changes...)
}

func newFollower(h *host) *follower {
	f := &follower{host: h, kept: &countedCopy{Store: mem.New()}}
	f.client = h.replica.client(hostlink.Config{TLS: h.identity.ClientTLS, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &countedConn{c, &f.received}, nil
	}})
	return f
}

type countedConn struct {
	net.Conn
	received *atomic.Int64
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.received.Add(int64(n))
	return n, err
}

// follow begins with what the host has kept, and returns once it is in step.
func (f *follower) follow() {
	f.t.Helper()
	var err error
	f.copy, err = hostlink.OpenCopy(f.t.Context(), f.kept, f.name, slog.New(slog.DiscardHandler))
	must(f.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { f.copy.Follow(ctx, f.client) })
	f.end = sync.OnceFunc(func() { cancel(); running.Wait() })
	f.t.Cleanup(f.end)
	waiting, done := context.WithTimeout(f.t.Context(), patience)
	defer done()
	if err := f.copy.InStep(waiting, 1<<30); err != nil {
		f.t.Fatalf("%s was never told all there is: %v", f.name, err)
	}
}

// has is what the host has, by key.
func (f *follower) has() map[string]string {
	f.t.Helper()
	page, err := f.kept.List(f.t.Context(), store.Range{})
	must(f.t, err)
	all := map[string]string{}
	for _, r := range page.Records {
		if r.Key != "copy" {
			all[r.Key] = untagged(r.Value)
		}
	}
	return all
}

// knows waits until the door knows who has what.
func (r *replica) knows() {
	r.t.Helper()
	all, err := r.services[home].Attachments(r.t.Context())
	must(r.t, err)
	hosts := map[string]string{}
	for _, a := range all {
		hosts[a.Instance] = a.Host
	}
	eventually(r.t, "the door knows who has what", func() bool { return maps.Equal(r.door.Attached(), hosts) })
}

// A fleet of 20 hosts with 50 instances each: a change costs what it is of, at the host that it concerns, and who comes
// back is told what has changed, not all there is.
func TestFleetIsToldWhatChanges(t *testing.T) {
	t.Parallel()
	const hosts, each = 20, 50
	r := newReplica(t)
	var all []*follower
	for h := range hosts {
		f := newFollower(r.join(fmt.Sprintf("host-%02d", h)))
		all = append(all, f)
		for from := 0; from < each; from += 10 {
			l := control.InstancesLaunch{Zone: "us-east-1a", BlueprintID: "ubuntu_24_04", BundleID: "nano_3_0"}
			for i := from; i < from+10; i++ {
				l.Names = append(l.Names, fmt.Sprintf("web-%02d-%02d", h, i))
			}
			_, err := r.services[home].CreateInstances(t.Context(), l)
			must(t, err)
		}
	}
	for h, f := range all {
		for i := range each {
			r.attach(fmt.Sprintf("web-%02d-%02d", h, i), f.name, fmt.Sprint("tap", i))
		}
	}
	r.knows()
	var first, least, most int64
	for _, f := range all {
		f.follow()
		n := f.received.Load()
		first += n
		if least == 0 || n < least {
			least = n
		}
		most = max(most, n)
		if told := f.kept.told.Load(); told != 2*each {
			t.Errorf("%s was told of %d records, and serves %d instances", f.name, told, each)
		}
	}
	if most > 2*least {
		t.Errorf("hosts of as many instances were sent %d to %d bytes", least, most)
	}
	// What one host is told of a change is of one commit, and nobody else hears of it. Each host has one change, in turns,
	// so that who has its own has all that came before.
	before := map[*follower]int64{}
	for _, f := range all {
		before[f] = f.kept.messages.Load()
	}
	for h, f := range all {
		name := fmt.Sprintf("web-%02d-%02d", h, h)
		r.setUserData(name, []byte("changed"))
		want := records.InstancePrefix + name
		eventually(t, "the host has the change", func() bool {
			got, err := f.kept.Get(t.Context(), want)
			must(t, err)
			in, err := records.DecodeInstance(got)
			must(t, err)
			return string(in.UserData) == "changed"
		})
	}
	for _, f := range all {
		if n := f.kept.messages.Load() - before[f]; n != 1 {
			t.Errorf("%s was told %d times of one change of its own", f.name, n)
		}
	}
	// All come back, one of them with a change that it has missed.
	var again int64
	for h, f := range all {
		f.end()
		if h == 0 {
			r.setUserData("web-00-07", []byte("missed"))
		}
		f.received.Store(0)
		f.kept.told.Store(0)
		f.follow()
		again += f.received.Load()
		want := int64(0)
		if h == 0 {
			want = 2 // the record, and its attachment
		}
		if told := f.kept.told.Load(); told > want {
			t.Errorf("%s was told of %d records when it came back", f.name, told)
		}
	}
	if again > first/4 {
		t.Errorf("who came back was sent %d bytes, and %d at first", again, first)
	}
}

// Whatever becomes of instances while a host is away and while it is there: who comes back has what one has that comes
// with nothing.
func TestFollowedFromAnyState(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a := newFollower(r.join("host-a"))
	r.join("host-b")
	service := r.services[home]
	allowed := func(err error) {
		t.Helper()
		if kind := openimds.KindOf(err); err != nil && kind != openimds.NotFound && kind != openimds.InvalidInput && kind != openimds.OperationFailure {
			t.Fatal(err)
		}
	}
	random := rand.New(rand.NewPCG(15, uint64(time.Now().UnixNano())))
	names := []string{"one", "two", "three", "four", "five"}
	recordings := 0
	step := func() {
		name := names[random.IntN(len(names))]
		var err error
		switch random.IntN(8) {
		case 0:
			_, err = service.CreateInstances(t.Context(), control.InstancesLaunch{
				Names: []string{name}, Zone: "us-east-1a", BlueprintID: "ubuntu_24_04", BundleID: "nano_3_0",
			})
		case 1:
			_, err = service.DeleteInstance(t.Context(), name)
		case 2:
			_, err = service.DetachInstance(t.Context(), name)
		case 3:
			data := []byte(fmt.Sprint(random.Uint64()))
			_, err = service.SetInstance(t.Context(), name, control.InstanceUpdate{UserData: &data})
		case 4:
			recorded := &openimds.Recording{} // an empty one takes it away
			if random.IntN(3) > 0 {
				recorded.Source, recorded.RecordedAt = "http://169.254.169.254", time.Date(2026, 1, 2, 3, 4, 5, random.IntN(1e9), time.UTC)
				for path, body := range map[string]string{"": "latest", "latest": "meta-data", "latest/meta-data": "ami-id"} {
					recorded.Items = append(recorded.Items, openimds.RecordedItem{Path: path, Listing: true, ContentType: "text/plain", Body: []byte(body)})
				}
				recorded.Items = append(recorded.Items, openimds.RecordedItem{Path: "latest/meta-data/ami-id", ContentType: "text/plain", Body: []byte(fmt.Sprint("ami-", random.Uint64()))})
				slices.SortFunc(recorded.Items, func(a, b openimds.RecordedItem) int { return strings.Compare(a.Path, b.Path) })
			}
			_, err = service.SetInstance(t.Context(), name, control.InstanceUpdate{Recording: recorded})
			if err == nil {
				recordings += len(recorded.Items)
			}
		default:
			_, err = service.AttachInstance(t.Context(), openimds.Attachment{Instance: name, Host: []string{"host-a", "host-b"}[random.IntN(2)], Interface: "tap-" + name})
		}
		allowed(err)
	}
	for round := range 60 {
		for range random.IntN(6) {
			step()
		}
		r.knows()
		a.follow()
		for range random.IntN(6) {
			step()
		}
		r.knows()
		fresh := newFollower(a.host)
		fresh.follow()
		want := fresh.has()
		eventually(t, fmt.Sprintf("in round %d the host has what another one has:\n%q\nis not\n%q", round, slices.Sorted(maps.Keys(a.has())), slices.Sorted(maps.Keys(want))),
			func() bool { return maps.Equal(a.has(), want) })
		fresh.end()
		a.end()
	}
	if recordings == 0 {
		t.Error("no instance had a recording")
	}
}

// What a host says that it has is taken for nothing but its own loss: it is told all of what is its own and not as it
// says, and of nothing else more than that it has it no more.
func TestHasWhatIsNot(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a, b := newFollower(r.join("host-a")), newFollower(r.join("host-b"))
	for name, host := range map[string]string{"mine": "host-a", "theirs": "host-b"} {
		r.create(name, "of "+host)
		r.attach(name, host, "tap-"+name)
	}
	r.knows()
	a.follow()
	b.follow()
	tags := func(f *follower, name string) hostlink.HasInstance {
		i := hostlink.HasInstance{Name: name}
		for prefix, tag := range map[string]*string{records.InstancePrefix: &i.Record, records.AttachmentPrefix: &i.Attachment} {
			got, err := f.kept.Get(t.Context(), prefix+name)
			must(t, err)
			if *tag = records.Tag(got.Value); *tag == "" {
				t.Fatalf("%s has no tag of %s", f.name, got.Key)
			}
		}
		return i
	}
	mine, theirs := tags(a, "mine"), tags(b, "theirs")
	// ask is what a host is told, by key, until all is listed; "": it is gone.
	ask := func(h *host, has ...hostlink.HasInstance) map[string]string {
		t.Helper()
		told, err := h.listed(hostlink.FollowRequest{Has: []hostlink.Has{{Region: home, Instances: has}}})
		must(t, err)
		return told
	}
	if told := ask(a.host, mine); len(told) != 0 {
		t.Errorf("a host that has all is told %q", told)
	}
	got := ask(a.host, mine, theirs, hostlink.HasInstance{Name: "nobodys", Record: theirs.Record, Attachment: theirs.Attachment, Recording: "x"})
	if len(got) != 5 || strings.Join(slices.Collect(maps.Values(got)), "") != "" {
		t.Errorf("a host that says it has what is another's is told %q", got)
	}
	for what, wrong := range map[string]hostlink.HasInstance{
		"tags of nothing":         {Name: "mine", Record: "x", Attachment: "y"},
		"no tags":                 {Name: "mine"},
		"an earlier record":       {Name: "mine", Record: theirs.Record, Attachment: mine.Attachment},
		"an earlier attachment":   {Name: "mine", Record: mine.Record, Attachment: theirs.Attachment},
		"the one for the other":   {Name: "mine", Record: mine.Attachment, Attachment: mine.Record},
		"an attachment by itself": {Name: "mine", Attachment: mine.Attachment},
	} {
		if told := ask(a.host, wrong); len(told) != 2 || told["instance/mine"] == "" || told["attachment/mine"] == "" {
			t.Errorf("%s: the host is told %q", what, told)
		}
	}
	// What host-b has of an instance that has moved to it is no more than what it says it has.
	r.attach("mine", "host-b", "tap-mine")
	r.knows()
	if told := ask(b.host, mine, theirs); told["instance/mine"] == "" || told["attachment/mine"] == "" || len(told) != 2 {
		t.Errorf("with the tags of the former host, the later one is told %q", told)
	}
	if told := ask(a.host, mine); len(told) != 2 || told["instance/mine"]+told["attachment/mine"] != "" {
		t.Errorf("the former host is told %q", told)
	}
	for what, bad := range map[string][]hostlink.Has{
		"a region twice":         {{Region: home}, {Region: home}},
		"no name of an instance": {{Region: home, Instances: []hostlink.HasInstance{{Name: "a/b"}}}},
		"no id of any recording": {{Region: home, Instances: []hostlink.HasInstance{{Name: "mine", Recording: strings.Repeat("x", 65)}}}},
	} {
		if told, err := a.listed(hostlink.FollowRequest{Has: bad}); err == nil || !strings.Contains(err.Error(), hostlink.CodeMalformed) {
			t.Errorf("%s: %q, %v", what, told, err)
		}
	}
}

// listed is what a host is told at first, by key.
func (h *host) listed(q hostlink.FollowRequest) (map[string]string, error) {
	h.t.Helper()
	lines, end, err := h.lines(q)
	if err != nil {
		return nil, err
	}
	defer end()
	all := map[string]string{}
	for m := range lines {
		for _, r := range m.Changes {
			all[r.Key] = string(r.Value)
		}
		if m.Listed {
			return all, nil
		}
	}
	return all, errors.New("the stream has ended")
}
