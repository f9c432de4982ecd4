package trace

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// joined is a set of conversations and what they have told.
type joined struct {
	*conversations
	told []string
}

func newJoined() *joined {
	j := &joined{}
	j.conversations = newConversations(func(c *call) {
		j.told = append(j.told, strings.TrimSpace(fmt.Sprintf("%s %s %s %d %s", c.Version, c.Method, c.Path, c.Status, c.Remark)))
	})
	return j
}

// packet is what is sent on connection 1, or answered.
func (j *joined) packet(seq int, text string) {
	e := event{kind: kindSent, cookie: 1, addr: imds, seq: uint32(seq), total: len(text), payload: []byte(text)}
	j.sent(j.find(e, noon, func(event) *caller { return &caller{} }), e, noon)
}

func (j *joined) cut(seq, total int, text string) {
	e := event{kind: kindSent, cookie: 1, addr: imds, seq: uint32(seq), total: total, payload: []byte(text)}
	j.sent(j.find(e, noon, func(event) *caller { return &caller{} }), e, noon)
}

func (j *joined) reply(seq int, text string) {
	e := event{kind: kindAnswer, cookie: 1, addr: imds, seq: uint32(seq), payload: []byte(text), ttl: 2}
	j.answered(j.find(e, noon, func(event) *caller { return &caller{} }), e)
}

func TestConversation(t *testing.T) {
	const a, b = "GET /a HTTP/1.1\r\n\r\n", "GET /b HTTP/1.1\r\nX-aws-ec2-metadata-token: t\r\n\r\n"
	const ok, later = "HTTP/1.1 200 ", 10 * time.Second
	for name, row := range map[string]struct {
		do   func(*joined)
		want []string
	}{
		"cut off by sampling": {func(j *joined) {
			j.packet(1, strings.Replace(a, "GET", "PUT", 1)+a)
			j.reply(1, ok)
			j.sampling()
			j.tick(noon.Add(later))
		}, []string{"v1 PUT /a 200", "v1 GET /a 0 not all of it was looked at: only a sample of the connections is"}},
		"connected, and cut off": {func(j *joined) {
			j.begin(event{cookie: 1, addr: imds}, &caller{}, noon)
			j.sampling()
			j.tick(noon.Add(later))
		}, []string{"unknown   0 not all of it was looked at: only a sample of the connections is"}},
		"one":        {func(j *joined) { j.packet(1, a); j.reply(1, ok) }, []string{"v1 GET /a 200"}},
		"sent again": {func(j *joined) { j.packet(1, a); j.packet(1, a); j.reply(1, ok); j.reply(1, ok) }, []string{"v1 GET /a 200"}},
		"around the end of the numbers": {func(j *joined) {
			j.packet(-5, a[:10])
			j.packet(5, a[10:])
			j.reply(1, ok)
		}, []string{"v1 GET /a 200"}},
		"sent again with more": {func(j *joined) { j.packet(1, a[:7]); j.packet(1, a); j.reply(1, ok) }, []string{"v1 GET /a 200"}},
		"a piece sent again":   {func(j *joined) { j.packet(1, a[:7]); j.packet(4, a[3:]); j.reply(1, ok) }, []string{"v1 GET /a 200"}},
		"two, one after other": {func(j *joined) { j.packet(1, a); j.reply(1, ok); j.packet(1+len(a), b); j.reply(9, "HTTP/1.1 404 ") }, []string{"v1 GET /a 200", "v2 GET /b 404"}},
		"two at once":          {func(j *joined) { j.packet(1, a+b); j.reply(1, ok); j.reply(9, ok) }, []string{"v1 GET /a 200", "v2 GET /b 200"}},
		"on the way":           {func(j *joined) { j.packet(1, a); j.reply(1, "HTTP/1.1 100 "); j.reply(5, ok) }, []string{"v1 GET /a 200"}},
		"a body":               {func(j *joined) { j.packet(1, "POST /p HTTP/1.1\nContent-Length: 20\n\n"+a+"x"+b) }, nil},
		"no answer":            {func(j *joined) { j.packet(1, a); j.tick(noon.Add(later)); j.tick(noon.Add(later)) }, []string{"v1 GET /a 0 no answer seen"}},
		"no answer to a token": {func(j *joined) { j.packet(1, "PUT /latest/api/token HTTP/1.1\n\n"); j.tick(noon.Add(later)) }, []string{"v2-token PUT /latest/api/token 0 no answer seen: the hop limit may be too small for this caller"}},
		"not yet":              {func(j *joined) { j.packet(1, a); j.tick(noon) }, nil},
		"no request": {func(j *joined) {
			j.connected(event{cookie: 1, addr: imds}, &caller{}, noon)
			j.tick(noon.Add(later))
			j.tick(noon.Add(later))
		}, []string{"unknown   0 connected, but no request was seen"}},
		"late request": {func(j *joined) {
			j.connected(event{cookie: 1, addr: imds}, &caller{}, noon)
			j.tick(noon.Add(later))
			j.packet(7, a)
			j.reply(1, ok)
		}, []string{"unknown   0 connected, but no request was seen", "v1 GET /a 200"}},
		"the socket goes on": {func(j *joined) {
			j.connected(event{cookie: 1, addr: imds}, &caller{}, noon)
			j.connected(event{cookie: 1, addr: imds}, &caller{}, noon)
		}, []string{"unknown   0 connected, but no request was seen"}},
		"bytes lost in a head": {func(j *joined) {
			j.packet(1, a[:7])
			j.packet(12, a[11:])
			j.packet(100, b)
			j.reply(1, ok)
			j.reply(2, ok)
		}, []string{"unknown   200 not all of the request was seen", "v2 GET /b 200"}},
		"cut in a head": {func(j *joined) { j.cut(1, 9000, a[:7]); j.packet(9001, b); j.reply(1, ok); j.reply(2, ok) }, []string{"unknown   200 not all of the request was seen", "v2 GET /b 200"}},
		"cut in a body": {func(j *joined) {
			j.cut(1, 39+5000, "POST /p HTTP/1.1\nContent-Length: 5000\n\n")
			j.reply(1, ok)
			j.packet(5040, a)
			j.reply(2, ok)
		}, []string{"v1 POST /p 200", "v1 GET /a 200"}},
		"too long a head":      {func(j *joined) { j.packet(1, "GET /a HTTP/1.1\nX: "+strings.Repeat("y", 9000)); j.reply(1, ok) }, []string{"unknown   200 the request's head is longer than 8 KiB"}},
		"no HTTP":              {func(j *joined) { j.packet(1, "\x16\x03\x01\n\n"); j.tick(noon.Add(later)) }, []string{"unknown   0 what was sent is no request"}},
		"an answer to nothing": {func(j *joined) { j.reply(1, ok) }, nil},
		"an answer without end": {func(j *joined) {
			j.packet(1, a)
			j.reply(1, "HTTP")
			j.reply(2, "HTTP/1.1 xyz ")
			j.tick(noon.Add(later))
		}, []string{"v1 GET /a 0 no answer seen"}},
	} {
		t.Run(name, func(t *testing.T) {
			j := newJoined()
			row.do(j)
			if fmt.Sprintf("%q", j.told) != fmt.Sprintf("%q", row.want) {
				t.Errorf("%q\nwant %q", j.told, row.want)
			}
		})
	}
}

// However requests are cut into packets, and whatever of them is sent again, they are the same.
func TestConversationInPieces(t *testing.T) {
	const text = "GET /a HTTP/1.1\r\nUser-Agent: x\r\n\r\nPUT /latest/api/token HTTP/1.1\nContent-Length: 3\n\nxyzGET /b HTTP/1.1\r\nX-aws-ec2-metadata-token: t\r\n\r\n"
	want := []string{"v1 GET /a 200", "v2-token PUT /latest/api/token 200", "v2 GET /b 200"}
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		j := newJoined()
		for at := 0; at < len(text); {
			from, to := max(at-r.IntN(10)*r.IntN(2), 0), min(at+1+r.IntN(40), len(text))
			j.packet(1000+from, text[from:to])
			at = to
		}
		for i := range 3 {
			j.reply(i*100+1, "HTTP/1.1 200 ")
		}
		if fmt.Sprint(j.told) != fmt.Sprint(want) {
			t.Fatalf("seed %d: %q", seed, j.told)
		}
	}
}

// What is kept has an end, and nothing is dropped without being told.
func TestConversationsAreBounded(t *testing.T) {
	j := newJoined()
	const more = 100
	for i := range mostConversations + more {
		e := event{cookie: uint64(i + 1), addr: imds}
		j.connected(e, &caller{}, noon)
	}
	if len(j.byCookie) != mostConversations || j.order.Len() != mostConversations || len(j.told) != more {
		t.Errorf("%d, %d kept; %d told", len(j.byCookie), j.order.Len(), len(j.told))
	}
	for i := range mostPending + 5 {
		j.packet(1+i*19, "GET /a HTTP/1.1\r\n\r\n")
	}
	if len(j.told) != more+1+5 { // one more conversation, which was forgotten before
		t.Errorf("%d told", len(j.told)-more)
	}
}

// TestFlood: whoever opens as many connections as are followed, asks much on each without an answer and leaves a request
// half sent takes a bounded part of the memory, and the calls of others are told with their answers meanwhile.
func TestFlood(t *testing.T) {
	told := map[string]int{}
	last := &call{}
	cs := newConversations(func(c *call) { told[c.Remark], last = told[c.Remark]+1, c })
	send := func(cookie uint64, seq int, text string) {
		e := event{kind: kindSent, cookie: cookie, addr: imds, seq: uint32(seq), total: len(text), payload: []byte(text)}
		cs.sent(cs.find(e, noon, func(event) *caller { return &caller{} }), e, noon)
	}
	const a = "GET /a HTTP/1.1\r\n\r\n"
	asked := func(when string, cookie uint64, parts ...string) {
		t.Helper()
		for at := 1; len(parts) > 0; at, parts = at+len(parts[0]), parts[1:] {
			send(cookie, at, parts[0])
		}
		e := event{kind: kindAnswer, cookie: cookie, addr: imds, seq: 1, payload: []byte("HTTP/1.1 200 ")}
		cs.answered(cs.find(e, noon, nil), e)
		if last.Path != "/a" || last.Status != 200 || last.Remark != "" {
			t.Errorf("%s, a call is told as %+v", when, last.Call)
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	whole := strings.Repeat(a, mostPending)
	for cookie := range uint64(mostConversations) {
		send(cookie+1, 1, whole)
		send(cookie+1, 1+len(whole), "GET /"+strings.Repeat("c", mostHead-6))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	const most = 48 << 20
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > most {
		t.Errorf("%d connections take %d MiB", mostConversations, grown>>20)
	}
	if told["its answer was not waited for: too many are at once"] != mostConversations*mostPending-mostCalls || told["it came in parts, as too many others did at once"] == 0 {
		t.Errorf("told are %v", told)
	}
	asked("in the flood", 1<<40, a)
	cs.tick(noon.Add(2 * answerWait))
	if cs.heads != 0 || cs.calls != 0 {
		t.Errorf("when nothing came, %d bytes are kept and %d calls wait", cs.heads, cs.calls)
	}
	asked("after the flood, in parts", 1<<41, a[:10], a[10:])
	send(1<<42, 1, a+a[:10])
	for cs.order.Len() > 0 {
		cs.end(cs.order.Back())
	}
	if cs.heads != 0 || cs.calls != 0 {
		t.Errorf("when all connections have ended, %d bytes are kept and %d calls wait", cs.heads, cs.calls)
	}
}

// A connection of a process that has ended is forgotten after a while, and no other one.
func TestEndedAreForgotten(t *testing.T) {
	j := newJoined()
	there, gone := &caller{}, &caller{}
	j.over = func(c *caller) bool { return c == gone }
	const more = 3 * mostLooks
	for i := range more {
		who := there
		if i%2 == 0 {
			who = gone
		}
		j.connected(event{cookie: uint64(2 + i), addr: imds}, who, noon)
	}
	j.connected(event{cookie: 1, addr: imds}, gone, noon)
	j.packet(1, "GET /a HTTP/1.1\r\n\r\n")
	j.reply(1, "HTTP/1.1 200")
	answered := len(j.told)
	for seconds := range 2 * more {
		now := noon.Add(time.Duration(seconds) * time.Second)
		j.tick(now)
		if now.Sub(noon) < quietFor && len(j.byCookie) != more+1 {
			t.Fatalf("%d of %d are kept after %s", len(j.byCookie), more+1, now.Sub(noon))
		}
	}
	if len(j.byCookie) != more/2 || j.order.Len() != more/2 {
		t.Errorf("%d are kept, want the %d of processes that are there", len(j.byCookie), more/2)
	}
	if told := len(j.told) - answered; told != more { // once each, that no request was seen
		t.Errorf("%d are told", told)
	}
}
