// Package hostdoor is where hosts without a store of their own are let in: it tells each of them what it serves, and
// nothing else, and takes from it what it tells of that, and nothing else.
//
// Whose a request is, its certificate says, and no word in it. Which of the things it names are that host's is asked of
// the store at each request ([control.Hosted]); what is another host's, nobody's, or not there has one answer.
package hostdoor

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/metadata"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"golang.org/x/time/rate"
)

// How long whoever connects may take, and how long a request may.
const (
	headTime   = 5 * time.Second
	callTime   = 8 * time.Second
	streamTime = 20 * time.Second // to take a line of the stream
	idleTime   = time.Minute
	// takeTime is for an answer to be made and taken. Whoever takes none would hold its memory, and what of the
	// limits it counts for, for good: HTTP/2 lets a client say how much it takes.
	takeTime = 2 * callTime
)

// Authority says whose a certificate is, and makes certificates; [hostcert.Authority] is one.
type Authority interface {
	HostOf(ctx context.Context, state tls.ConnectionState) (hostcert.Host, error)
	Redeem(ctx context.Context, token openimds.JoinToken, request []byte) (hostcert.Issued, error)
	Renew(ctx context.Context, host hostcert.Host, request []byte) (hostcert.Issued, error)
}

// Signer signs identity documents; [identity.Signer] is one.
type Signer interface {
	metadata.Signatures
	Forget(instanceID string)
	// Keys tells which keys sign now.
	Keys() string
}

// Region is one of an installation.
type Region struct {
	Name string
	// Store has the region's records, Service their rules.
	Store   store.Store
	Service *control.Service
}

// Config is what a [Door] works with.
type Config struct {
	Authority Authority
	// Home is the region whose records stand in the store itself, and Regions are all.
	Home    string
	Regions []Region
	// Whole is the store of all regions.
	Whole  store.Store
	Signer Signer
	// Refused is told of each refusal, with who was refused if that is known.
	Refused func(ctx context.Context, e openimds.AuditEntry, key string)
	// Installation is what hosts call their series by in the engine of metrics that is asked for what they count by the sample:
	// none of it is kept here then. Empty: no engine is asked.
	Installation string
	// Connections at once; 0: 8192.
	Connections int
	// Program is this program's version.
	Program string
	Log     *slog.Logger
}

// Door lets hosts in. It is safe for use by many goroutines.
type Door struct {
	cfg     Config
	http    *http.Server
	indexes []*index
	open    places
	stop    context.CancelFunc
	ctx     context.Context // ends the streams
	takes   time.Duration   // takeTime
	turns   turns
	tags    *tags

	signing            chan struct{} // who signs has the one place in it
	turnTime, signTime time.Duration

	redeems   *rate.Limiter
	redeeming places

	mu      sync.Mutex
	limits  map[string]*limits
	streams map[string][]*stream // by host, the oldest first
}

// New makes a door; [Door.Run] and [Door.Serve] open it.
func New(cfg Config) *Door {
	if cfg.Connections == 0 {
		cfg.Connections = defaultConnections
	}
	d := &Door{
		cfg: cfg, signing: make(chan struct{}, 1), limits: map[string]*limits{}, streams: map[string][]*stream{}, takes: takeTime,
		turnTime: turnTime, signTime: signTime,
		open:    places{most: cfg.Connections, ofOne: max(cfg.Connections/2, 1)},
		redeems: rate.NewLimiter(redeemRate, redeemBurst), redeeming: places{most: maxRedeems, ofOne: maxRedeems / 4},
		turns: turns{free: maxListing}, tags: &tags{whole: cfg.Whole, program: cfg.Program},
	}
	d.ctx, d.stop = context.WithCancel(context.Background())
	for _, r := range cfg.Regions {
		d.indexes = append(d.indexes, newIndex(r, cfg.Log))
	}
	d.http = &http.Server{
		Handler: d, ReadHeaderTimeout: headTime, IdleTimeout: idleTime, MaxHeaderBytes: 16 << 10,
		ErrorLog:  slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		ConnState: d.count,
		// A client that reads nothing of its connection at all holds each answer on it.
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 128, WriteByteTimeout: streamTime, SendPingTimeout: 2 * hostlink.BeatEvery, PingTimeout: 2 * hostlink.BeatEvery},
	}
	return d
}

// Run follows what hosts serve until the context ends.
func (d *Door) Run(ctx context.Context) {
	var following sync.WaitGroup
	defer following.Wait()
	for _, x := range d.indexes {
		following.Go(func() { x.run(ctx) })
	}
	tick := time.NewTicker(hostlink.BeatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !d.storeAnswers(ctx) && ctx.Err() == nil {
			d.endStreams("the store does not answer")
		}
	}
}

// storeAnswers says whether this replica knows what is so now. One that does not sends hosts to another, which may.
func (d *Door) storeAnswers(ctx context.Context) bool {
	ctx, done := context.WithTimeout(ctx, hostlink.BeatEvery)
	defer done()
	_, err := d.cfg.Whole.Get(ctx, records.LayoutKey)
	return err == nil || errors.Is(err, store.ErrNoRecord)
}

func (d *Door) endStreams(why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, of := range d.streams {
		for _, s := range of {
			s.end(why)
		}
	}
}

// Serve lets hosts in at a listener of TLS until it is closed or the door is.
func (d *Door) Serve(l net.Listener) error { return d.http.ServeTLS(admitting{l, d}, "", "") }

// UseTLS says how connections are made; before Serve.
func (d *Door) UseTLS(cfg *tls.Config) { d.http.TLSConfig = cfg }

// Shutdown ends the streams, and waits for the requests under way until the context ends.
func (d *Door) Shutdown(ctx context.Context) error {
	d.stop()
	err := d.http.Shutdown(ctx)
	if err != nil {
		_ = d.http.Close()
	}
	return err
}

// call is one request.
type call struct {
	door *Door
	r    *http.Request
	what string // the request's name, for the audit
	host hostcert.Host
	body []byte
}

// handlers are the requests of hosts, but for the stream.
var handlers = map[string]struct {
	what   string
	answer func(*call, context.Context) (any, error)
}{
	hostlink.PathRenew:     {"RenewCertificate", (*call).renew},
	hostlink.PathJoin:      {"JoinHost", (*call).join},
	hostlink.PathKeep:      {"KeepHost", (*call).keep},
	hostlink.PathLeave:     {"LeaveHost", (*call).leave},
	hostlink.PathSeats:     {"TakeSeats", (*call).seats},
	hostlink.PathLeaveSeat: {"LeaveSeat", (*call).leaveSeat},
	hostlink.PathApplied:   {"MarkApplied", (*call).applied},
	hostlink.PathBound:     {"BindAttachments", (*call).bound},
	hostlink.PathStatus:    {"ReportAttachments", (*call).status},
	hostlink.PathFaults:    {"FaultsMet", (*call).faults},
	hostlink.PathSign:      {"SignDocuments", (*call).sign},
	hostlink.PathCounts:    {"KeepCounts", (*call).counts},
}

// ServeHTTP implements [http.Handler].
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{door: d, r: r, what: "AskAsHost"}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d.takes))
	handler, known := handlers[r.URL.Path]
	switch {
	case r.Method != http.MethodPost || r.TLS == nil:
		c.write(w, nil, refusal{http.StatusMethodNotAllowed, hostlink.CodeMalformed, "requests are POSTs over TLS"})
		return
	case known:
		c.what = handler.what
	case r.URL.Path == hostlink.PathRedeem:
		c.what = "JoinByToken"
	case r.URL.Path == hostlink.PathFollow:
		c.what = "FollowAsHost"
	}
	ctx, done := context.WithTimeout(r.Context(), callTime)
	defer done()
	// What has no certificate is read only where none is needed.
	most, identify := int64(hostlink.MaxBody), c.identify
	if r.URL.Path == hostlink.PathRedeem {
		most, identify = maxRedeem, c.stranger
	}
	leave, err := identify(ctx)
	if err != nil {
		c.write(w, nil, err)
		return
	}
	defer leave()
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(callTime))
	if c.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, most)); err != nil {
		c.write(w, nil, malformed(fmt.Sprintf("the body is larger than %d KiB, or did not come", most>>10)))
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	switch {
	case r.URL.Path == hostlink.PathRedeem:
		answer, err := c.redeem(ctx)
		c.write(w, answer, err)
	case r.URL.Path == hostlink.PathFollow:
		c.follow(w)
	case known:
		ctx = control.WithActor(ctx, "host "+c.host.Name)
		ctx = control.WithRequest(ctx, "", r.RemoteAddr)
		answer, err := handler.answer(c, ctx)
		c.write(w, answer, err)
	default:
		c.write(w, nil, refusal{http.StatusNotFound, hostlink.CodeMalformed, "there is no such request"})
	}
}

// refusal is an error that is told as it is.
type refusal struct {
	status        int
	code, message string
}

func (r refusal) Error() string { return r.message }

func malformed(why string) error {
	return refusal{http.StatusBadRequest, hostlink.CodeMalformed, why}
}

// write answers, and has refusals put down.
func (c *call) write(w http.ResponseWriter, answer any, err error) {
	status := http.StatusOK
	if c.host.Name == "" {
		w.Header().Set("Connection", "close") // who is no host does not stay
	}
	if err != nil {
		told := c.explain(err)
		status, answer = told.status, hostlink.ErrorAnswer{Code: told.code, Message: told.message}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // who is gone needs none
}

// explain is what a host is told of an error. Refusals go to the audit log too, with what the host does not learn.
func (c *call) explain(err error) refusal {
	told, known := errors.AsType[refusal](err)
	refused, unknown := errors.AsType[*hostcert.Refused](err)
	failed, isFailed := errors.AsType[*openimds.Error](err)
	switch {
	case known && told.status < http.StatusInternalServerError:
		c.audit("", told.message)
		return told
	case known:
		return told
	case unknown && refused.Evicted:
		c.audit("", refused.Error())
		return refusal{http.StatusForbidden, hostlink.CodeEvicted, "this host was evicted, or has joined anew elsewhere"}
	case unknown:
		c.audit("", refused.Error())
		return refusal{http.StatusForbidden, hostlink.CodeRefused, "refused; the log of the replica says why"}
	case errors.Is(err, control.ErrEnded):
		c.audit("", err.Error())
		return refusal{http.StatusForbidden, hostlink.CodeRefused, "refused; the log of the replica says why"}
	case errors.Is(err, control.ErrNotServed):
		return refusal{http.StatusNotFound, hostlink.CodeNotServed, "this host serves nothing of that name"}
	case errors.Is(err, store.ErrNoLease):
		c.audit("", "the lease has ended, or is none of this host's")
		return refusal{http.StatusConflict, hostlink.CodeNoLease, "the lease has ended, or is none of this host's"}
	case isFailed && failed.Code == openimds.InUse:
		c.audit("", "another process is this host")
		return refusal{http.StatusConflict, hostlink.CodeInUse, "another process is this host"}
	case isFailed && failed.Kind != openimds.Internal && failed.Kind != openimds.Unavailable:
		c.audit("", failed.Message())
		return refusal{http.StatusBadRequest, hostlink.CodeRefused, "refused; the log of the replica says why"}
	}
	c.door.cfg.Log.Warn("a request of a host failed", "host", c.host.Name, "request", c.what, "error", err)
	return refusal{http.StatusServiceUnavailable, hostlink.CodeAway, "the replica cannot do it now; ask again"}
}

// audit puts a refusal down.
func (c *call) audit(instance, why string) {
	e := openimds.AuditEntry{When: time.Now().UTC(), Who: "nobody", What: c.what, Source: c.r.RemoteAddr, Failure: why}
	key := ""
	if c.host.Name != "" {
		key = "host " + c.host.Name
		e.Who = key
	}
	if instance != "" {
		e.Resource = string(openimds.TypeInstance) + "/" + instance
	}
	// The connection may be gone, and the refusal is to be put down all the same.
	c.door.cfg.Refused(context.WithoutCancel(c.r.Context()), e, key)
}
