package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/openimds/openimds/client"
	"golang.org/x/sys/unix"
)

// answersEnv is how many answers of the judged fleet are held against who asks; without it it is not judged.
const answersEnv = "OPENIMDS_TEST_FLEET_ANSWERS"

// awayEnv is for how long the judged fleet has no store, and one of its hosts no network; without it 20 seconds, which is
// longer than a host is waited for.
const awayEnv = "OPENIMDS_TEST_FLEET_AWAY"

// TestFleetJudged takes the example fleet's parts away one after the other while all of its guests call, with a session token
// each: every answer is of the instance that is asked, and none fails but at a host whose agent is just being
// started again. What is changed meanwhile is obeyed, and an instance that moves is never answered at two hosts. The figures are for
// docs/BENCHMARKS.md: nothing here depends on how long something takes.
func TestFleetJudged(t *testing.T) {
	answers := times(t, answersEnv, 0)
	if answers == 0 {
		t.Skipf("takes minutes: make bench and make soak have it, and %s=5000", answersEnv)
	}
	t.Parallel()
	if !fleetInside(t) {
		return
	}
	away := 20 * time.Second
	if text := os.Getenv(awayEnv); text != "" {
		var err error
		away, err = time.ParseDuration(text)
		must(t, err)
	}
	f := judge(t, times(t, "OPENIMDS_TEST_FLEET_GUESTS", 10))
	f.obedience(times(t, "OPENIMDS_TEST_FLEET_CHANGES", 60))
	f.move(times(t, "OPENIMDS_TEST_FLEET_MOVES", 4))
	pause := 100 * time.Millisecond // other tests have this machine, too
	if answers > 10_000 {
		pause = time.Millisecond
	}
	f.callAll(pause)
	f.kill(answers)
	f.storeAway(away)
	f.partition(away)
	f.callNoMore()
}

// judgedFleet is the example fleet, and the guests that call.
type judgedFleet struct {
	*exampleFleet
	apis   [2]*client.Client
	places []*place // of web-1, web-2 and so on, half of them at each host
	spare  *place   // tap0 of the second host

	stop             context.CancelFunc
	callers          errorGroup
	answers, slowest atomic.Int64 // the latter in nanoseconds
	mu               sync.Mutex
	wrong, failures  []failure
	restarts         []restart
	changes          []time.Duration // from the request to the guest that obeys, by one goroutine
}

// place is where a guest calls from.
type place struct {
	name, id string // of the instance that is attached there
	host     string
	ns       *os.File
	work     chan func()
}

// failure is a request that had not the answer that it should have had.
type failure struct {
	host     string
	from, to time.Time
	what     string
}

// restart is a time in which a host's agent was away.
type restart struct {
	host     string
	from, to time.Time
}

func judge(t *testing.T, guests int) *judgedFleet {
	f := &judgedFleet{exampleFleet: newExampleFleet(t)}
	began := time.Now()
	f.up(guests)
	t.Logf("%d guests at each of 2 hosts are answered %.1f s after the beginning of examples/fleet/up", guests, time.Since(began).Seconds())
	f.apis = [2]*client.Client{f.api("10.77.0.21"), f.api("10.77.0.22")}
	for n := range 2 * guests {
		p := f.place(fmt.Sprintf("host-%d", n/guests+1), n%guests+1)
		p.name = fmt.Sprint("web-", n+1)
		must(t, p.do(func() (err error) {
			p.id, err = whoAmI(patience)
			return err
		}))
		f.places = append(f.places, p)
	}
	f.spare = f.place("host-2", 0)
	return f
}

// place has a thread of its own in the guest's namespace.
func (f *judgedFleet) place(host string, tap int) *place {
	p := &place{host: host, ns: f.namespace(fmt.Sprintf("%s-tap%d", host, tap)), work: make(chan func())}
	entered := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		err := unix.Setns(int(p.ns.Fd()), unix.CLONE_NEWNET)
		entered <- err
		if err != nil {
			return
		}
		for do := range p.work {
			do()
		}
	}()
	must(f.t, <-entered)
	f.t.Cleanup(func() { close(p.work) })
	return p
}

// do runs a function in the guest's namespace.
func (p *place) do(do func() error) error {
	done := make(chan error, 1)
	p.work <- func() { done <- do() }
	return <-done
}

// askService sends a request to the metadata service from the thread's namespace, and reads its answer.
func askService(method, path, header string) (status, body string, err error) {
	c, err := net.DialTimeout("tcp", "169.254.169.254:80", patience)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, method+" "+path+" HTTP/1.1\r\nHost: 169.254.169.254\r\n"+header+"\r\n"); err != nil {
		return "", "", err
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		return "", "", err
	}
	head, body, whole := strings.Cut(string(answer), "\r\n\r\n")
	if !whole || len(head) < len("HTTP/1.1 200") {
		return "", "", fmt.Errorf("not an answer: %q", answer)
	}
	return head[len("HTTP/1.1 "):len("HTTP/1.1 200")], body, nil
}

const instanceIDPath = "/latest/meta-data/instance-id"

// change makes a change at a server, again until it is accepted: while members elect a leader it may not be, nor where a disk is
// slower than a request may be.
func (f *judgedFleet) change(api *client.Client, name, tokens string) {
	f.t.Helper()
	var err error
	if eventually(func() bool {
		if err = ask(f.t.Context(), api, targetLightsail+"UpdateInstanceMetadataOptions", map[string]string{"instanceName": name, "httpTokens": tokens}, nil); err != nil {
			time.Sleep(50 * time.Millisecond)
		}
		return err == nil
	}) != nil {
		f.t.Fatalf("%s cannot be changed: %v", name, err)
	}
}

// obeys waits until a guest's requests without a token are answered so, and tells when that was.
func (f *judgedFleet) obeys(p *place, status string) time.Time {
	f.t.Helper()
	var got string
	var when time.Time
	if p.do(func() error {
		return eventually(func() bool {
			var err error
			if got, _, err = askService("GET", instanceIDPath, ""); err != nil {
				got = err.Error()
				time.Sleep(time.Millisecond)
			}
			when = time.Now()
			return got == status
		})
	}) != nil {
		f.t.Fatalf("%s is answered %s, not %s", p.name, got, status)
	}
	return when
}

// obedience changes the options of instances all over the fleet, in turns with those of a server with its store in a file.
func (f *judgedFleet) obedience(changes int) {
	single := startProcess(f.t, filepath.Join(f.t.TempDir(), "single"), "--guest-rate", "0")
	defer single.stop(f.t)
	alone := single.caller(f.t, client.ServiceLightsail)
	figures := map[string][]time.Duration{}
	note := func(what string, begun, answered, obeyed time.Time) {
		figures[what+" from the API's answer"] = append(figures[what+" from the API's answer"], max(obeyed.Sub(answered), 0))
		figures[what+" from the request"] = append(figures[what+" from the request"], obeyed.Sub(begun))
	}
	for n := range changes {
		p := f.places[n*7%len(f.places)]
		for _, to := range []struct{ tokens, status string }{{"required", "401"}, {"optional", "200"}} {
			begun := time.Now()
			f.change(f.apis[n%2], p.name, to.tokens)
			answered := time.Now()
			note("etcd:", begun, answered, f.obeys(p, to.status))

			begun = time.Now()
			f.change(alone, "demo", to.tokens)
			answered = time.Now()
			must(f.t, eventually(func() bool { return strings.HasPrefix(single.guest(f.t), "HTTP/1.1 "+to.status) }))
			note("file:", begun, answered, time.Now())
		}
	}
	for _, what := range []string{"file: from the API's answer", "etcd: from the API's answer", "file: from the request", "etcd: from the request"} {
		f.t.Logf("%d changes, %s: %s", len(figures[what]), what, quantiles(figures[what]))
	}
}

// quantiles shows times in milliseconds.
func quantiles(all []time.Duration) string {
	slices.Sort(all)
	at := func(q float64) float64 { return all[min(int(q*float64(len(all))), len(all)-1)].Seconds() * 1e3 }
	return fmt.Sprintf("p50 %.1f ms, p99 %.1f ms, most %.1f ms", at(0.5), at(0.99), at(1))
}

// callAll has every guest call, with such pauses, until callNoMore: all but that of web-1.
func (f *judgedFleet) callAll(pause time.Duration) {
	var ctx context.Context
	ctx, f.stop = context.WithCancel(f.t.Context())
	f.t.Cleanup(f.stop)
	for _, p := range f.places[1:] {
		f.callers.run(p.ns, func() error {
			token := ""
			for n := 0; ctx.Err() == nil; n++ {
				from := time.Now()
				var status, body string
				var err error
				if n%100 == 0 || token == "" {
					status, token, err = askService("PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n")
					if err == nil && status != "200" {
						token = ""
					}
				} else {
					status, body, err = askService("GET", instanceIDPath, "X-aws-ec2-metadata-token: "+token+"\r\n")
				}
				to := time.Now()
				switch {
				case err != nil || status != "200":
					f.note(&f.failures, failure{p.host, from, to, fmt.Sprint(p.name, ": ", status, " ", err)})
					time.Sleep(10 * time.Millisecond)
					continue
				case body != "" && body != p.id:
					f.note(&f.wrong, failure{p.host, from, to, p.name + " is answered as " + body})
				case body != "":
					f.answers.Add(1)
				}
				for took, most := int64(to.Sub(from)), f.slowest.Load(); took > most && !f.slowest.CompareAndSwap(most, took); {
					most = f.slowest.Load()
				}
				time.Sleep(pause)
			}
			return nil
		})
	}
}

func (f *judgedFleet) note(where *[]failure, what failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*where = append(*where, what)
}

// callNoMore ends the calls, and judges them.
func (f *judgedFleet) callNoMore() {
	f.stop()
	must(f.t, f.callers.wait())
	restarting := 0
	for _, failed := range f.failures {
		if slices.ContainsFunc(f.restarts, func(r restart) bool {
			return r.host == failed.host && failed.to.After(r.from) && failed.from.Before(r.to)
		}) {
			restarting++
			continue
		}
		f.t.Errorf("%s, %v to %v: %s", failed.host, failed.from, failed.to, failed.what)
	}
	for _, w := range f.wrong {
		f.t.Error(w.what)
	}
	f.t.Logf("%d answers in all, %d of a wrong instance; %d requests failed, beside %d at a host whose agent was just being started again; the slowest took %.1f ms",
		f.answers.Load(), len(f.wrong), len(f.failures)-restarting, restarting, time.Duration(f.slowest.Load()).Seconds()*1e3)
}

// goOn waits until the guests have had so many answers more.
func (f *judgedFleet) goOn(answers int) {
	f.t.Helper()
	for now, until := f.answers.Load(), f.answers.Load()+int64(answers); now < until; {
		before := now
		if eventually(func() bool { time.Sleep(10 * time.Millisecond); now = f.answers.Load(); return now > before }) != nil {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.t.Fatalf("guests have no answers any more; the last failure: %v", f.failures[max(0, len(f.failures)-1):])
		}
	}
}

// changed has an instance of each host changed at a replica, and waits until its guest obeys.
func (f *judgedFleet) changed(api *client.Client, what string) {
	f.t.Helper()
	for _, p := range []*place{f.places[1], f.places[len(f.places)-1]} {
		for _, to := range []struct{ tokens, status string }{{"required", "401"}, {"optional", "200"}} {
			begun := time.Now()
			f.change(api, p.name, to.tokens)
			accepted := time.Now()
			f.obeys(p, to.status)
			took := time.Since(begun)
			if f.changes = append(f.changes, took); took > 5*time.Second {
				f.t.Logf("%s: a change at %s is accepted after %.1f s, obeyed after %.1f s", what, p.host, accepted.Sub(begun).Seconds(), took.Seconds())
			}
		}
	}
}

// restart stops a host's agent and starts it again.
func (f *judgedFleet) restart(host, signal string) {
	f.t.Helper()
	from := time.Now()
	f.script("stop", "-"+signal, host)
	f.script("start", host)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.restarts = append(f.restarts, restart{host, from, time.Now()})
	f.t.Logf("the agent of %s was away for %.1f s (SIG%s)", host, time.Since(from).Seconds(), signal)
}

// kill takes each part away, and brings it back, while guests get so many answers in all.
func (f *judgedFleet) kill(answers int) {
	parts := []string{"etcd-1", "etcd-2", "etcd-3", "api-1", "api-2", "host-1", "host-2"}
	if exists(filepath.Join(f.dir, "metrics")) {
		parts = append(parts, "metrics")
	}
	each := answers / 2 / len(parts)
	for _, part := range parts {
		api := f.apis[0]
		if part == "api-1" {
			api = f.apis[1]
		}
		if strings.HasPrefix(part, "host-") {
			f.restart(part, "KILL")
			f.restart(part, "TERM")
		} else {
			f.script("stop", "-KILL", part)
			f.goOn(each)
			f.changed(api, "without "+part)
			f.script("start", part)
		}
		f.goOn(each)
		f.changed(f.apis[1], "with "+part+" again")
	}
	f.t.Logf("killed in turn: %s; %d changes without each and with it again, from the request until the guest obeys: %s",
		strings.Join(parts, ", "), len(f.changes), quantiles(f.changes))
}

// storeAway takes the whole store away for a time, in whose middle an agent is started again, first by a kill and then in order.
func (f *judgedFleet) storeAway(away time.Duration) {
	begun, before := time.Now(), f.answers.Load()
	f.script("stop", "-KILL", "etcd-1", "etcd-2", "etcd-3")
	time.Sleep(away / 2)
	f.restart("host-1", "KILL")
	f.restart("host-2", "TERM")
	f.goOn(100)
	time.Sleep(time.Until(begun.Add(away)))
	f.script("start", "etcd-1", "etcd-2", "etcd-3")
	f.t.Logf("the store was away for %.0f s, in which guests had %d answers", time.Since(begun).Seconds(), f.answers.Load()-before)
	f.changed(f.apis[0], "with the store again")
}

// partition cuts a host off for a time, in which some of its instances are changed.
func (f *judgedFleet) partition(away time.Duration) {
	begun, before := time.Now(), f.answers.Load()
	heal := f.cut("host-1")
	changed := f.places[1:6:6]
	for n, p := range changed {
		f.change(f.apis[n%2], p.name, "required")
	}
	elsewhere := f.places[len(f.places)-1]
	f.change(f.apis[0], elsewhere.name, "required")
	f.obeys(elsewhere, "401")
	time.Sleep(time.Until(begun.Add(away)))
	for _, p := range changed {
		f.obeys(p, "200") // by the last options that the host knew
	}
	heal()
	healed := time.Now()
	for _, p := range changed {
		f.obeys(p, "401")
	}
	f.t.Logf("host-1 was cut off for %.0f s, in which guests had %d answers, and was in step %.1f s after", healed.Sub(begun).Seconds(),
		f.answers.Load()-before, time.Since(healed).Seconds())
	for n, p := range append(changed, elsewhere) {
		f.change(f.apis[n%2], p.name, "optional")
		f.obeys(p, "200")
	}
}

// cut has a host's machine neither send nor take anything on its network, silently; its guests are on interfaces of their own.
func (f *judgedFleet) cut(host string) (heal func()) {
	f.t.Helper()
	ns := f.namespace(host)
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	must(f.t, err)
	table := conn.AddTable(&nftables.Table{Name: "cut", Family: nftables.TableFamilyINet})
	for name, side := range map[string]struct {
		hook *nftables.ChainHook
		key  expr.MetaKey
	}{"in": {nftables.ChainHookInput, expr.MetaKeyIIFNAME}, "out": {nftables.ChainHookOutput, expr.MetaKeyOIFNAME}} {
		chain := conn.AddChain(&nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: side.hook, Priority: nftables.ChainPriorityFilter})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: side.key, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte("eth0\x00")},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
	}
	must(f.t, conn.Flush())
	return func() {
		f.t.Helper()
		conn.DelTable(table)
		must(f.t, conn.Flush())
	}
}

// move moves web-1 between the hosts, to and fro, while a guest at either place asks every other millisecond who it is.
func (f *judgedFleet) move(moves int) {
	home := f.places[0]
	ctx, stop := context.WithCancel(f.t.Context())
	defer stop()
	here, there := f.watch(ctx, home), f.watch(ctx, f.spare)
	var gaps []time.Duration
	for n := range moves {
		from, to, request := here, there, map[string]string{"instanceName": home.name, "host": "host-2", "interface": "tap0"}
		if n%2 == 1 {
			from, to, request = there, here, map[string]string{"instanceName": home.name, "host": "host-1", "interface": "tap1"}
		}
		must(f.t, eventually(func() bool { time.Sleep(time.Millisecond); return len(from.told()) > 0 }))
		to.forget()
		must(f.t, ask(f.t.Context(), f.apis[n%2], targetOpenIMDS+"AttachInstance", request, nil))
		must(f.t, eventually(func() bool { time.Sleep(time.Millisecond); return len(to.told()) > 20 }))
		seen := time.Now()
		must(f.t, eventually(func() bool { time.Sleep(time.Millisecond); return from.settled(seen) }))
		last, first := from.told(), to.told()
		for _, a := range slices.Concat(last, first) {
			if a.id != home.id {
				f.t.Fatalf("%s is answered as %s, and is %s", home.name, a.id, home.id)
			}
		}
		slices.SortFunc(last, func(a, b told) int { return a.to.Compare(b.to) })
		slices.SortFunc(first, func(a, b told) int { return a.to.Compare(b.to) })
		for _, a := range last {
			if a.from.After(first[0].to) {
				f.t.Errorf("move %d: the former host answered a request of %v after the new one had answered", n, a.from.Sub(first[0].to))
			}
		}
		gaps = append(gaps, first[0].to.Sub(last[len(last)-1].to))
		from.forget()
	}
	stop()
	here.asking.Wait()
	there.asking.Wait()
	f.t.Logf("%d moves, from the former host's last answer to the new one's first: %s", moves, quantiles(gaps))
}

// watched is what a guest that asks all the time was answered.
type watched struct {
	asking sync.WaitGroup
	mu     sync.Mutex
	all    []told
	forgot time.Time
	under  map[*os.File]time.Time // when the requests under way were begun
}

type told struct {
	id       string
	from, to time.Time
}

// watch asks from a place every other millisecond, whether there are answers or not.
func (f *judgedFleet) watch(ctx context.Context, p *place) *watched {
	w := &watched{under: map[*os.File]time.Time{}}
	w.asking.Go(func() {
		for ctx.Err() == nil {
			from := time.Now()
			var c *os.File
			err := p.do(func() (err error) { c, err = beginAsking(); return err })
			if err == nil {
				w.mu.Lock()
				w.under[c] = from
				w.mu.Unlock()
				w.asking.Go(func() {
					defer func() {
						_ = c.Close()
						w.mu.Lock()
						defer w.mu.Unlock()
						delete(w.under, c)
					}()
					_ = c.SetDeadline(time.Now().Add(2 * time.Second))
					if _, err := io.WriteString(c, "GET "+instanceIDPath+" HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"); err != nil {
						return
					}
					answer, err := io.ReadAll(c)
					to := time.Now()
					head, id, whole := strings.Cut(string(answer), "\r\n\r\n")
					if err == nil && whole && strings.HasPrefix(head, "HTTP/1.1 200 ") {
						w.mu.Lock()
						defer w.mu.Unlock()
						if from.After(w.forgot) {
							w.all = append(w.all, told{id, from, to})
						}
					}
				})
			}
			time.Sleep(2 * time.Millisecond)
		}
	})
	return w
}

// beginAsking begins a connection to the metadata service from the thread's namespace; its first write waits for it.
func beginAsking() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{169, 254, 169, 254}, Port: 80})
	if err != nil && err != unix.EINPROGRESS {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "guest"), nil
}

// settled says whether no request is under way that was begun before.
func (w *watched) settled(before time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, begun := range w.under {
		if begun.Before(before) {
			return false
		}
	}
	return true
}

// told are the answers since it was told to forget.
func (w *watched) told() []told {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

func (w *watched) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all, w.forgot = nil, time.Now()
}
