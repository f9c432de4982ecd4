package hostdoor_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage/history"
)

// operations are what an operator does in an exchange. They come to be values of it.
var operations = map[string]func(*replica, values){
	"invite": func(r *replica, of values) {
		of["token"] = string(r.invite("host-a").Token)
	},
	"create": func(r *replica, of values) {
		of["id"] = r.create("mine", "of a").ID
		of["day"], of["now"] = time.Now().UTC().Format(time.DateOnly), time.Now().UTC().Format(time.RFC3339Nano)
	},
	"attach": func(r *replica, of values) {
		r.attach("mine", "host-a", "tap0")
		at, err := r.services[home].Attachment(r.t.Context(), "mine")
		must(r.t, err)
		of["attached"] = at.CreatedAt.UTC().Format(time.RFC3339Nano)
	},
	"require tokens": func(r *replica, of values) {
		tokens := openimds.TokensRequired
		op, err := r.services[home].UpdateOptions(r.t.Context(), "mine", openimds.OptionsUpdate{Tokens: &tokens})
		must(r.t, err)
		of["operation"] = op.ID
	},
	"wait for refusals": func(r *replica, of values) {
		r.waitFor("mine")
		of["watch"] = r.mark("mine")
	},
	"change user data": func(r *replica, _ values) { r.setUserData("mine", []byte("changed")) },
	"detach":           func(r *replica, _ values) { r.detach("mine") },
}

// recorder keeps what goes over the door.
type recorder struct {
	door http.Handler

	mu     sync.Mutex
	steps  exchange
	stream [][]byte
}

// ServeHTTP implements [http.Handler].
func (r *recorder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, _ := io.ReadAll(q.Body)
	q.Body = io.NopCloser(bytes.NewReader(body))
	if q.URL.Path == hostlink.PathFollow {
		r.mu.Lock()
		r.steps = append(r.steps, step{Path: q.URL.Path, Request: json.RawMessage(body), Status: http.StatusOK})
		r.mu.Unlock()
		r.door.ServeHTTP(&streamed{ResponseWriter: w, recorder: r}, q)
		return
	}
	kept := &answered{ResponseWriter: w, status: http.StatusOK}
	r.door.ServeHTTP(kept, q)
	var request, answer any
	if json.Unmarshal(body, &request) == nil && json.Unmarshal(kept.text.Bytes(), &answer) == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.steps = append(r.steps, step{Path: q.URL.Path, Request: json.RawMessage(body), Status: kept.status, Answer: json.RawMessage(kept.text.Bytes())})
	}
}

type answered struct {
	http.ResponseWriter
	status int
	text   bytes.Buffer
}

func (a *answered) WriteHeader(status int) { a.status = status; a.ResponseWriter.WriteHeader(status) }

func (a *answered) Write(p []byte) (int, error) {
	a.text.Write(p)
	return a.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }

type streamed struct {
	http.ResponseWriter
	recorder *recorder
}

func (s *streamed) Write(p []byte) (int, error) {
	s.recorder.mu.Lock()
	s.recorder.stream = append(s.recorder.stream, bytes.Clone(p))
	s.recorder.mu.Unlock()
	return s.ResponseWriter.Write(p)
}

// Unwrap is for [http.ResponseController].
func (s *streamed) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// telling says whether a line of the stream tells something that an agent of this release knows.
func telling(line map[string]any) bool {
	return line["hello"] != nil || line["changes"] != nil || line["listed"] != nil
}

// tags keeps the tags with which a line of the stream comes: the host says by them what it has.
func (of values) tags(line map[string]any) {
	changes, _ := line["changes"].([]any)
	for _, c := range changes {
		change, _ := c.(map[string]any)
		key, _ := change["key"].(string)
		if tag, _ := change["tag"].(string); tag != "" {
			kind, _, _ := strings.Cut(key, "/")
			of["tag of the "+kind] = tag
		}
	}
}

// told takes what was recorded since the last time.
func (r *recorder) told(t testing.TB, of values) (all exchange) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.steps {
		s.Request = of.named(parse(t, s.Request.(json.RawMessage)))
		if s.Answer != nil {
			s.Answer = of.named(parse(t, s.Answer.(json.RawMessage)))
		}
		all = append(all, s)
	}
	var lines []any
	for _, line := range r.stream {
		if v := parse(t, line).(map[string]any); telling(v) {
			of.tags(v)
			lines = append(lines, of.named(v))
		}
	}
	r.steps, r.stream = nil, nil
	if len(lines) > 0 {
		if len(all) == 0 {
			all = append(all, step{})
		}
		all[len(all)-1].Stream = lines
	}
	return all
}

// record has this release's agent go through all that one says, and returns the exchange. One in which a stream broke, as on
// a machine that is too busy for its signs of life, has another stream that nobody asked for, and is made anew.
func record(t *testing.T) exchange {
	t.Helper()
	const streams, tries = 2, 5
	for range tries {
		x, followed := recordOnce(t), 0
		for _, s := range x {
			if s.Path == hostlink.PathFollow {
				followed++
			}
		}
		if followed == streams {
			return x
		}
	}
	t.Fatalf("in none of %d exchanges the agent follows %d times", tries, streams)
	return nil
}

func recordOnce(t *testing.T) (x exchange) {
	t.Helper()
	r := newReplica(t)
	rec := &recorder{door: r.door}
	r.door.SetHandler(rec)
	of := values{}
	does := func(name string) {
		t.Helper()
		operations[name](r, of)
		x = append(x, step{Operator: name})
	}
	said := func() { t.Helper(); x = append(x, rec.told(t, of)...) }
	does("invite")
	i := r.invite("host-a")
	of["token"] = string(i.Token)
	by, err := hostcert.JoinTLS(i)
	must(t, err)
	id, err := hostcert.Join(t.Context(), t.TempDir(), i, func(ctx context.Context, token openimds.JoinToken, request []byte) ([]byte, error) {
		of["request"] = base64.StdEncoding.EncodeToString(request)
		return r.client(patient(hostlink.Config{TLS: always(by), Program: "of the agent"})).Redeem(ctx, token, request)
	})
	must(t, err)
	said()
	does("create")
	client := r.client(patient(hostlink.Config{TLS: id.ClientTLS, Program: "of the agent"}))
	region := client.Region(home, true, "")
	lease, err := region.JoinHost(t.Context(), true)
	must(t, err)
	of["lease"] = json.Number(jsonOf(t, lease)).String()
	r.keepAlive(lease)
	said()
	does("attach")
	kept := mem.New()
	follow := func() (end func()) {
		copied, err := hostlink.OpenCopy(t.Context(), kept, "host-a", slog.New(slog.DiscardHandler))
		must(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		var following sync.WaitGroup
		following.Go(func() { copied.Follow(ctx, client) })
		waiting, done := context.WithTimeout(t.Context(), patience)
		defer done()
		must(t, copied.InStep(waiting, 1<<30))
		return sync.OnceFunc(func() { cancel(); following.Wait() })
	}
	end := follow()
	defer func() { end() }()
	inStep := func() {
		t.Helper()
		eventually(t, "the copy is in step", func() bool { return reflect.DeepEqual(r.hosts("host-a"), contents(t, kept)) })
		said()
	}
	inStep()
	must(t, region.TakeSeats(t.Context(), lease, "mine"))
	said()
	does("require tokens")
	inStep()
	must(t, region.MarkApplied(t.Context(), r.instance("mine")))
	inStep()
	attached, err := time.Parse(time.RFC3339Nano, of["attached"])
	must(t, err)
	must(t, region.BindAttachments(t.Context(), []openimds.Binding{{
		Instance: "mine", CreatedAt: attached, Face: openimds.Face{Boot: "boot", Index: 7, MAC: "02:00:00:00:00:66"}, Links: []openimds.GuestLink{{MAC: "02:00:00:00:00:67"}},
	}}))
	inStep()
	must(t, region.ReportAttachments(t.Context(), lease, []openimds.AttachmentStatus{{Instance: "mine", CreatedAt: attached, State: "attached"}}))
	must(t, region.KeepAlive(t.Context(), lease))
	now, err := time.Parse(time.RFC3339Nano, of["now"])
	must(t, err)
	_, err = region.FaultsMet(t.Context(), "mine", of["id"], now, 3)
	must(t, err)
	a := &host{t: t, replica: r, address: r.address, http: &http.Client{Transport: &http.Transport{TLSClientConfig: id.ClientTLS(), ForceAttemptHTTP2: true}}}
	t.Cleanup(a.http.CloseIdleConnections)
	a.ask(hostlink.PathSign, hostlink.SignRequest{Of: hostlink.Of{Region: home, Process: process}, Instances: []string{"mine"}})
	a.ask(hostlink.PathCounts, hostlink.CountsRequest{Records: []hostlink.Counted{{Key: history.SamplePrefix + of["day"] + "/" + of["id"] + "/host-a", Value: []byte{3}}}})
	said()
	does("wait for refusals")
	eventually(t, "the host hears of it", func() bool { return markIn(t, kept, "mine") == of["watch"] })
	said()
	a.ask(hostlink.PathCounts, hostlink.CountsRequest{Refused: []hostlink.Refused{{Region: home, Refused: records.Refused{
		Instance: "mine", InstanceID: of["id"], Watch: of["watch"], Process: process, At: now,
		RefusedCalls: openimds.RefusedCalls{Counter: "of the agent", NoToken: 3, Refusals: []openimds.Refusal{{Reason: "no-token", Status: 401, Count: 3}}},
	}}}})
	must(t, id.Renew(t.Context(), func(ctx context.Context, request []byte) ([]byte, error) {
		of["request"] = base64.StdEncoding.EncodeToString(request)
		return client.Renew(ctx, request)
	}))
	said()
	does("change user data")
	inStep()
	end()
	end = follow() // with what it has
	inStep()
	does("detach")
	inStep()
	must(t, region.LeaveSeat(t.Context(), "mine"))
	must(t, region.Revoke(t.Context(), lease))
	said()
	return x
}

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	must(t, err)
	return string(text)
}

// patient is a client that says each thing once, however slow the machine is.
func patient(cfg hostlink.Config) hostlink.Config {
	cfg.DialTime, cfg.AnswerTime = patience, patience
	return cfg
}

// hosts is what a host is to have, by key, as far as the options and the attachment of its instance tell.
func (r *replica) hosts(name string) map[string]string {
	all := map[string]string{}
	for key, value := range r.everything() {
		at, err := records.DecodeAttachment(store.Record{Key: key, Value: []byte(value)})
		if instance, ok := strings.CutPrefix(key, records.AttachmentPrefix); ok && err == nil && at.Host == name {
			all[key] = value
			in := r.instance(instance)
			all[records.InstancePrefix+instance] = jsonOf(r.t, []any{in.ID, in.Options, in.UserData, in.Links})
		}
	}
	return all
}

// contents is the same of what a host has.
func contents(t testing.TB, kept store.Store) map[string]string {
	all := map[string]string{}
	page, err := kept.List(context.Background(), store.Range{})
	must(t, err)
	for _, r := range page.Records {
		switch {
		case strings.HasPrefix(r.Key, records.AttachmentPrefix):
			all[r.Key] = untagged(r.Value)
		case strings.HasPrefix(r.Key, records.InstancePrefix):
			in, err := records.DecodeInstance(r)
			must(t, err)
			all[r.Key] = jsonOf(t, []any{in.ID, in.Options, in.UserData, in.Links})
		}
	}
	return all
}

// What this release's agent says is recorded as it is, so that the next release can be held to it.
func TestExchangeIsRecorded(t *testing.T) {
	t.Parallel()
	x, again := record(t), record(t)
	if len(x) != len(again) {
		t.Fatalf("two exchanges have %d steps and %d", len(x), len(again))
	}
	for i := range x {
		a, b := any(map[string]any{"answer": x[i].Answer, "stream": x[i].Stream}), any(map[string]any{"answer": again[i].Answer, "stream": again[i].Stream})
		x[i].Varies = differing(parse(t, []byte(jsonOf(t, a))), parse(t, []byte(jsonOf(t, b))))
	}
	if *update {
		text, err := json.MarshalIndent(x, "", "\t")
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(recordedHere), 0o755))
		must(t, os.WriteFile(recordedHere, append(text, '\n'), 0o644))
	}
	was := readExchange(t, recordedHere)
	if len(was) != len(x) {
		t.Fatalf("the exchange has %d steps, and %d are recorded: go generate ./hostdoor", len(x), len(was))
	}
	for i := range x {
		if x[i].Operator != was[i].Operator || x[i].Path != was[i].Path || jsonOf(t, x[i].Request) != jsonOf(t, was[i].Request) {
			t.Errorf("the agent says %s %s %s, and %s %s %s is recorded: go generate ./hostdoor", x[i].Operator, x[i].Path, jsonOf(t, x[i].Request), was[i].Operator, was[i].Path, jsonOf(t, was[i].Request))
		}
	}
}

// Each agent of which an exchange is recorded is answered by this replica as it was then, and is refused nothing; also one
// that says more than anybody knows yet.
func TestRecordedAgents(t *testing.T) {
	t.Parallel()
	for _, path := range exchanges(t) {
		for what, said := range map[string]func(any) any{"as it is": func(v any) any { return v }, "and more": later} {
			t.Run(filepath.Base(path)+" "+what, func(t *testing.T) {
				t.Parallel()
				replay(t, readExchange(t, path), said)
			})
		}
	}
}

func replay(t *testing.T, x exchange, said func(any) any) {
	r := newReplica(t)
	of := values{}
	by, err := hostcert.JoinTLS(r.invite("host-a"))
	must(t, err)
	key, request := requestOf(t, "host-a")
	of["request"] = base64.StdEncoding.EncodeToString(request)
	a := &host{t: t, replica: r, address: r.address}
	connect := func() {
		a.http = &http.Client{Transport: &http.Transport{TLSClientConfig: by, ForceAttemptHTTP2: true}}
		t.Cleanup(a.http.CloseIdleConnections)
	}
	connect()
	var lines *bufio.Scanner
	for i, s := range x {
		varies := set(s.Varies)
		switch {
		case s.Operator != "":
			operations[s.Operator](r, of)
		case s.Path == "": // only the stream
		case s.Path == hostlink.PathFollow:
			resp, err := a.http.Post("https://"+a.address+s.Path, "application/json", strings.NewReader(jsonOf(t, said(of.filled(s.Request)))))
			must(t, err)
			t.Cleanup(func() { _ = resp.Body.Close() })
			lines = bufio.NewScanner(resp.Body)
			lines.Buffer(nil, hostlink.MaxMessage)
		default:
			status, text := a.ask(s.Path, said(of.filled(s.Request)))
			got := parse(t, []byte(text)).(map[string]any)
			if s.Path == hostlink.PathJoin {
				of["lease"] = string(got["lease"].(json.Number))
				n, err := got["lease"].(json.Number).Int64()
				must(t, err)
				r.keepAlive(store.Lease(n))
			}
			if err := lacks(s.Answer, of.named(got), "/answer", varies); err != nil || status != s.Status {
				t.Fatalf("step %d, %s: %d %s: %v", i, s.Path, status, text, err)
			}
			if s.Path == hostlink.PathRedeem {
				by = certified(t, by, key, got["certificate"].(string))
				connect()
			}
		}
		for n, want := range s.Stream {
			line := map[string]any{}
			for !telling(line) {
				if !lines.Scan() {
					t.Fatalf("step %d: the stream is over: %v", i, lines.Err())
				}
				line = parse(t, lines.Bytes()).(map[string]any)
			}
			of.tags(line)
			if err := lacks(want, of.named(line), "/stream/"+jsonOf(t, n), varies); err != nil {
				t.Fatalf("step %d, the stream: %v", i, err)
			}
		}
	}
	if put := r.refusals("host host-a"); len(put) > 0 {
		t.Errorf("refused: %q", put)
	}
}

// This agent goes on with each replica of which an exchange is recorded, also with one that tells more than anybody knows
// yet: members, messages and records of kinds that are not known.
func TestRecordedReplicas(t *testing.T) {
	t.Parallel()
	for _, path := range exchanges(t) {
		for what, said := range map[string]func(any) any{"as it is": func(v any) any { return v }, "and more": later} {
			t.Run(filepath.Base(path)+" "+what, func(t *testing.T) {
				t.Parallel()
				followRecorded(t, readExchange(t, path), said)
			})
		}
	}
}

func followRecorded(t *testing.T, x exchange, said func(any) any) {
	r := newReplica(t)
	a := r.join("host-a")
	of := values{"lease": "77", "id": "i-0123456789abcdef0", "operation": "of then", "attached": "2026-11-26T12:00:00Z"}
	answers := map[string]step{}
	var streams [][]any
	for _, s := range x {
		answers[s.Path] = s
		for _, line := range s.Stream {
			if line.(map[string]any)["hello"] != nil {
				streams = append(streams, nil)
			}
			streams[len(streams)-1] = append(streams[len(streams)-1], line)
		}
	}
	var begun atomic.Int64
	held := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, q *http.Request) {
		s := answers[q.URL.Path]
		w.WriteHeader(s.Status)
		_, _ = io.WriteString(w, jsonOf(t, said(of.filled(s.Answer))))
	})
	mux.HandleFunc(hostlink.PathFollow, func(w http.ResponseWriter, q *http.Request) {
		n := int(begun.Add(1))
		for _, line := range streams[min(n, len(streams))-1] {
			_, _ = io.WriteString(w, jsonOf(t, said(of.filled(line)))+"\n")
			_, _ = io.WriteString(w, `{"ofLater":{"x":1}}`+"\n")
			if line.(map[string]any)["hello"] != nil {
				_, _ = io.WriteString(w, `{"changes":[{"region":"`+home+`","key":"of-later/x","value":{"x":1}}]}`+"\n")
			}
		}
		if n < len(streams) {
			return // and the agent comes back
		}
		_, _ = io.WriteString(w, `{"changes":[{"region":"`+home+`","key":"instance/last","unread":true},{"region":"`+home+`","key":"of-later/x","value":1}]}`+"\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-held:
		case <-q.Context().Done():
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	then := &http.Server{Handler: mux, TLSConfig: r.authority.ServerTLS()} //nolint:gosec // of this test alone
	var serving sync.WaitGroup
	serving.Go(func() { _ = then.ServeTLS(l, "", "") })
	t.Cleanup(func() { close(held); _ = then.Close(); serving.Wait() })
	a.replica.address = l.Addr().String()
	client := r.client(hostlink.Config{TLS: a.identity.ClientTLS})
	kept := mem.New()
	log := &heard{has: make(chan struct{})}
	copied, err := hostlink.OpenCopy(t.Context(), kept, "host-a", slog.New(slog.NewTextHandler(log, nil)))
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { copied.Follow(ctx, client) })
	t.Cleanup(func() { cancel(); following.Wait() })
	select {
	case <-log.has:
	case <-time.After(patience):
		t.Fatalf("the agent does not follow: %s", log.text())
	}
	if got := keys(t, kept); len(got) != 0 {
		t.Errorf("after the instance was detached the host has %q", got)
	}
	watch, err := kept.List(t.Context(), store.Range{})
	must(t, err)
	if watch.Revision < 5 {
		t.Errorf("the copy was changed %d times", watch.Revision)
	}
	region := client.Region(home, true, "")
	lease, err := region.JoinHost(t.Context(), true)
	must(t, err)
	if lease != 77 {
		t.Errorf("the lease is %d", lease)
	}
	pending := &openimds.Instance{Name: "mine", ID: of["id"]}
	pending.Options.State = openimds.OptionsPending
	for what, err := range map[string]error{
		"TakeSeats":         region.TakeSeats(t.Context(), lease, "mine"),
		"KeepAlive":         region.KeepAlive(t.Context(), lease),
		"MarkApplied":       region.MarkApplied(t.Context(), pending),
		"BindAttachments":   region.BindAttachments(t.Context(), []openimds.Binding{{Instance: "mine"}}),
		"ReportAttachments": region.ReportAttachments(t.Context(), lease, []openimds.AttachmentStatus{{Instance: "mine", State: "attached"}}),
		"LeaveSeat":         region.LeaveSeat(t.Context(), "mine"),
		"Revoke":            region.Revoke(t.Context(), lease),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// heard is a log that tells when the agent has come to the last line of a stream.
type heard struct {
	mu  sync.Mutex
	all bytes.Buffer
	has chan struct{}
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if bytes.Contains(p, []byte("key=instance/last")) {
		select {
		case <-h.has:
		default:
			close(h.has)
		}
	}
	return h.all.Write(p)
}

func (h *heard) text() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all.String()
}
