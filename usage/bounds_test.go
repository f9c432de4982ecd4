package usage_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
)

// stored is how large the records below a prefix are: the largest, and all.
func stored(t *testing.T, s store.Store, prefix string) (largest, all int) {
	t.Helper()
	page, err := s.List(context.Background(), store.Range{Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page.Records {
		largest = max(largest, len(r.Value))
		all += len(r.Key) + len(r.Value)
	}
	return largest, all
}

const storedCallers = "usage/callers/" + id + "/local"

// odd is a User-Agent of n bytes that JSON would write six times as long.
func odd(i, n int) []byte {
	b := []byte(fmt.Sprintf("%04d", i))
	for len(b) < n {
		b = append(b, byte(1+(i+len(b))%7))
	}
	return b
}

// TestGuestsBound: whatever a guest varies, its records stay a few KB, and no request is lost from the
// counts.
func TestGuestsBound(t *testing.T) {
	v6 := netip.MustParsePrefix("2001:db8::/64").Addr().As16()
	address := func(i int) netip.Addr {
		a := v6
		a[6], a[7], a[14], a[15] = byte(i>>3), byte(i), byte(i>>8), byte(i) // other subnets, other hosts
		return netip.AddrFrom16(a)
	}
	paths := []string{"latest/meta-data/ami-id", "latest/meta-data/network/interfaces", "latest/dynamic/instance-identity/document",
		"latest/user-data", "latest/meta-data/iam/info", "1.0/none/such", "latest/meta-data/tags/instance/Name"}
	for name, request := range map[string]func(g *usage.Tally, i int, at time.Time){
		"user agents": func(g *usage.Tally, i int, at time.Time) { g.Count(usage.NoToken, source, path, odd(i, 128), at) },
		"long user agents": func(g *usage.Tally, i int, at time.Time) {
			g.Count(usage.NoToken, source, path, append(odd(i, 120), odd(i, 7000)...), at)
		},
		"short user agents": func(g *usage.Tally, i int, at time.Time) {
			g.Count(usage.NoToken, source, path, fmt.Append(nil, i), at)
		},
		"sources": func(g *usage.Tally, i int, at time.Time) { g.Count(usage.NoToken, address(i), path, agent, at) },
		"paths": func(g *usage.Tally, i int, at time.Time) {
			g.Count(usage.NoToken, source, []byte(paths[i%len(paths)]+"/"+fmt.Sprint(i)), agent, at)
		},
		"lost tokens": func(g *usage.Tally, i int, at time.Time) {
			g.Count(usage.TokenIssued, address(i), nil, odd(i, 128), at)
			g.Undelivered(address(i), odd(i, 128), 1+i%64, i%64, at)
		},
		"all": func(g *usage.Tally, i int, at time.Time) {
			call := []usage.Call{usage.NoToken, usage.NoTokenRejected, usage.NoTokenMissed, usage.WithToken, usage.WithTokenRejected, usage.TokenIssued, usage.TokenRefused}[i%7]
			g.Count(call, address(i/3), []byte(paths[i%len(paths)]), odd(i/2, 100+i%60), at)
			if i%5 == 0 {
				g.Undelivered(address(i/3), odd(i/2, 128), 1, 2, at)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			store := mem.New()
			r := newRecorder(store, c)
			g := r.Guest(id, "web-1")
			for i := range 3000 {
				request(g, i, c.now())
				if i%300 == 299 {
					flush(t, r)
					c.forward(7 * time.Minute)
				}
			}
			flush(t, r)
			largest, all := stored(t, store, "usage/")
			t.Logf("the largest record has %d bytes, all have %d", largest, all)
			if largest > 9<<10 || all > 12<<10 {
				t.Error("that is more than a few KB")
			}
			sum := func(r *usage.Meter) (n [3]int64) {
				for _, caller := range callersOf(t, r, time.Time{}) {
					n[0] += caller.Counts[openimds.MetricNoToken]
					n[1] += caller.Counts[openimds.MetricTokenRequests]
					n[2] += caller.Counts[openimds.MetricTokenUndelivered]
				}
				return n
			}
			was := sum(r)
			if was[0]+was[1] == 0 || name != "all" && was[0]+was[1] != 3000 || name == "all" && was[2] != 600 {
				t.Errorf("the callers have %v of 3000 requests", was)
			}
			if again := sum(newRecorder(store, c)); again != was {
				t.Errorf("after a restart they have %v, before %v", again, was)
			}
		})
	}
}

// TestHonestCallersFit: a guest with many tools that read many things has room for all of them.
func TestHonestCallersFit(t *testing.T) {
	c := newClock()
	store := mem.New()
	r := newRecorder(store, c)
	g := r.Guest(id, "web-1")
	want := 0
	for _, tool := range []string{"curl/8.5.0", "Cloud-Init/24.1.3", "Boto3/1.34.46 md/Botocore#1.34.46 ua/2.0 os/linux#6.1.79 md/arch#x86_64 lang/python#3.11.6 md/pyimpl#CPython",
		"aws-sdk-go-v2/1.25.0 os/linux lang/go#1.22.0 md/GOOS#linux md/GOARCH#amd64 ft/ec2-imds", "amazon-ssm-agent/3.3.40.0", "aws-sdk-java/2.25.1 Linux/6.1"} {
		for _, part := range []string{"ami-id", "network/x", "iam/x", "placement/x", "tags/x", "spot/x", "events/x", "block-device-mapping/x", "public-keys/x", "services/x"} {
			for _, from := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} {
				g.Count(usage.WithToken, netip.MustParseAddr(from), []byte("latest/meta-data/"+part), []byte(tool), c.now())
				want++
			}
		}
	}
	flush(t, r)
	if got := len(callersOf(t, newRecorder(store, c), time.Time{})); got != want {
		t.Errorf("%d callers of %d are told apart", got, want)
	}
}

// TestEarlierCallers: a record of an earlier version, as large as it could be, is carried over into the
// bounds, the latest callers first, and nothing is lost from the counts.
func TestEarlierCallers(t *testing.T) {
	c := newClock()
	now := c.now()
	var text strings.Builder
	text.WriteString(`{"schema":2,"callers":[`)
	for i := range 256 {
		fmt.Fprintf(&text, `{"source":"10.0.0.1","agent":%q,"group":"meta-data","counts":{"MetadataNoToken":%d,"MetadataTokenUndelivered":1},"first":%d,"last":%d,"undelivered":{"at":%[3]d,"hopLimit":1,"needed":2}},`,
			fmt.Sprintf("%q", odd(i, 128)), i, now.Add(-time.Hour).UnixNano(), now.Add(time.Duration(i)*time.Second).UnixNano())
	}
	fmt.Fprintf(&text, `{"others":true,"counts":{"MetadataNoToken":1000},"first":%d,"last":%[1]d}]}`, now.UnixNano())
	kept := mem.New()
	if _, err := kept.Commit(t.Context(), store.Change{Key: storedCallers, Value: []byte(text.String()), If: store.IfAbsent}); err != nil {
		t.Fatal(err)
	}
	r := newRecorder(kept, c)
	g := r.Guest(id, "web-1")
	g.Count(usage.NoToken, netip.MustParseAddr("10.0.0.1"), []byte("latest/meta-data/ami-id"), append(odd(255, 128), "and more"...), c.now())
	flush(t, r)
	if largest, _ := stored(t, kept, storedCallers); largest > 9<<10 {
		t.Errorf("the record has %d bytes", largest)
	}
	var sum int64
	callers := callersOf(t, newRecorder(kept, c), time.Time{})
	for _, caller := range callers {
		sum += caller.Counts[openimds.MetricNoToken]
	}
	if sum != 1000+255*128+1 {
		t.Errorf("%d requests of %d", sum, 1000+255*128+1)
	}
	if first := callers[0]; first.Counts[openimds.MetricNoToken] != 256 || !strings.HasSuffix(first.UserAgent, "…") || first.Undelivered == nil {
		t.Errorf("the latest caller is %+v", first)
	}
}

// TestDamagedCallers: a damaged record is an error or callers, never a panic.
func TestDamagedCallers(t *testing.T) {
	c := newClock()
	kept := mem.New()
	r := newRecorder(kept, c)
	g := r.Guest(id, "web-1")
	for i := range 30 {
		g.Count(usage.NoToken, source, path, odd(i, 20), c.now())
	}
	g.Undelivered(source, agent, 1, 2, c.now())
	flush(t, r)
	record, err := kept.Get(t.Context(), storedCallers)
	if err != nil {
		t.Fatal(err)
	}
	whole := callersOf(t, newRecorder(kept, c), time.Time{})
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 {
		value := append([]byte{}, record.Value[:min(len(record.Value), random.IntN(2*len(record.Value)))]...)
		for range i % 4 {
			if len(value) > 0 {
				value[random.IntN(len(value))] = byte(random.Uint32())
			}
		}
		if _, err := kept.Commit(t.Context(), store.Change{Key: storedCallers, Value: value, If: store.Whatever}); err != nil {
			t.Fatal(err)
		}
		_, _ = newRecorder(kept, c).Callers(t.Context(), id, time.Time{})
	}
	if _, err := kept.Commit(t.Context(), store.Change{Key: storedCallers, Value: record.Value, If: store.Whatever}); err != nil {
		t.Fatal(err)
	}
	if again := callersOf(t, newRecorder(kept, c), time.Time{}); !reflect.DeepEqual(again, whole) {
		t.Error("the whole record reads otherwise the second time")
	}
}
