// Package console is the web page of a server, and all that a browser needs to have it: who is signed in, a bridge to
// the control API's own operations, and a stream that tells what has changed. It has no rule and no way to change
// anything of its own: what a page asks for goes through the same table, checks and audit as a signed request, and
// only who asks is found in another way, by a session's cookie.
//
//	GET    /console/…             the page
//	GET    /console/assets/…      what it loads, by names that change with the content
//	POST   /console/session       sign in: an access key, or a link of "openimds console"
//	GET    /console/session       who is signed in
//	DELETE /console/session       sign out
//	POST   /console/api/OPERATION an operation of the control API
//	GET    /console/events        what changes, as server-sent events
//
// A browser may be led here by anybody. So the page is served under known names only, what changes anything has to
// come from the page itself, and nothing of another origin is loaded, framed or asked.
package console

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/store"
)

// Root is where the console is, below the control API's address.
const Root = "/console/"

// Config is what the console works with.
type Config struct {
	// Sessions says who is signed in.
	Sessions *Sessions
	// Regions are those of the server, at least one; the first is meant where a request names none.
	Regions []Region
	// Targets has the target of each operation by its name.
	Targets map[string]string
	// Account, Refused and Timeout are as in [api.Config].
	Account string
	Refused api.Refused
	Timeout time.Duration
	// Hosts are DNS names that the console may be opened by, beside localhost, all IP addresses, and the names of
	// the certificate.
	Hosts []string
	// Certificate is the server's now; nil: it does not speak TLS.
	Certificate func() *x509.Certificate
	// Streams is how many streams of events there may be at once.
	Streams int
	// Version of the program.
	Version string
	// Log takes what went wrong inside; nil: nothing is logged.
	Log *slog.Logger
}

// Region is one of a server's regions.
type Region struct {
	Name string
	// Protocol has its operations.
	Protocol api.Protocol
	// Store is followed for what changes.
	Store store.Store
}

// Console serves the page and what it asks for. [Console.Run] has to run beside it.
type Console struct {
	cfg     Config
	page    *page
	bridges map[string]http.Handler // by region
	feeds   map[string]*feed        // by region
	origins *http.CrossOriginProtection
	routes  http.Handler
	streams chan struct{} // one for each that is open
	ended   chan struct{}
}

// New makes a console.
func New(cfg Config) *Console {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Console{
		cfg: cfg, page: newPage(content()), bridges: map[string]http.Handler{}, feeds: map[string]*feed{},
		origins: http.NewCrossOriginProtection(), streams: make(chan struct{}, max(cfg.Streams, 1)), ended: make(chan struct{}),
	}
	for _, r := range cfg.Regions {
		c.bridges[r.Name] = api.New(api.Config{
			Protocols: []api.Protocol{plainJSON{r.Protocol}}, Auth: cfg.Sessions, Account: cfg.Account, Refused: cfg.Refused, Timeout: cfg.Timeout, Log: cfg.Log,
		})
		c.feeds[r.Name] = newFeed(r.Store, cfg.Log)
	}
	c.origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusForbidden, "CrossOriginRequest", "Only the console's own page may ask for this")
	}))
	c.routes = c.origins.Handler(http.HandlerFunc(c.route))
	return c
}

// Run follows the stores until the context ends; then all streams end.
func (c *Console) Run(ctx context.Context) {
	defer close(c.ended)
	done := make(chan struct{})
	for _, f := range c.feeds {
		go func() { f.run(ctx); done <- struct{}{} }()
	}
	for range c.feeds {
		<-done
	}
}

// Serves says whether a request is for the console, whatever it is answered.
func Serves(r *http.Request) bool {
	return r.URL.Path+"/" == Root || strings.HasPrefix(r.URL.Path, Root)
}

// policy keeps a page from doing what this one need not: whatever text of others were taken for markup, it could load
// nothing, run nothing and send nothing elsewhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// ServeHTTP answers what [Serves] says is the console's.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if !c.knownAs(r.Host) {
		fail(w, http.StatusForbidden, "UnknownHost", "The console is not served under this name: open it by the server's address, or start the server with this name as --console-host")
		return
	}
	c.routes.ServeHTTP(w, r)
}

// route finds what is asked for. Paths have one spelling: whatever else a browser or a proxy may take for the same one is
// not there.
func (c *Console) route(w http.ResponseWriter, r *http.Request) {
	path, below := strings.CutPrefix(r.URL.Path, Root)
	operation, bridged := strings.CutPrefix(path, "api/")
	switch {
	case r.URL.RawPath != "" || below && !plain(path):
		missing(w)
	case !below:
		http.Redirect(w, r, Root, http.StatusPermanentRedirect)
	case bridged:
		c.bridge(w, r, operation)
	case path == "session":
		c.session(w, r)
	case path == "events":
		c.events(w, r)
	default:
		c.page.serve(w, r, path)
	}
}

// plain says whether a path below [Root] is spelt as this program would.
func plain(path string) bool {
	for part := range strings.SplitSeq(strings.TrimSuffix(path, "/"), "/") {
		if part == "." || part == ".." || part == "" && path != "" {
			return false
		}
	}
	return !strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == '\\' || r == 0x7f })
}

// knownAs says whether the console may be opened by what a browser takes for its name. A name that its owner lets stand
// for this address later (DNS rebinding) would make the owner's page one of the console's origin; an address is what it is.
func (c *Console) knownAs(host string) bool {
	name := host
	if only, _, err := net.SplitHostPort(host); err == nil {
		name = only
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return true
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if isHere(name) {
		return true
	}
	if slices.ContainsFunc(c.cfg.Hosts, func(known string) bool { return strings.EqualFold(known, name) }) {
		return true
	}
	return c.cfg.Certificate != nil && c.cfg.Certificate().VerifyHostname(name) == nil
}

// isHere says whether a name or address is of the machine that it is used on, whoever is asked.
func isHere(name string) bool {
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || err == nil && addr.Unmap().IsLoopback()
}

// ofPage says whether a request that changes nothing comes from the console's page, or from none.
func ofPage(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "" || site == "same-origin" || site == "none"
}

// method refuses all methods but one.
func method(w http.ResponseWriter, r *http.Request, allowed ...string) bool {
	if slices.Contains(allowed, r.Method) {
		return true
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	fail(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "Use "+strings.Join(allowed, " or "))
	return false
}

// isJSON refuses bodies that a form of another page could send.
func isJSON(w http.ResponseWriter, r *http.Request) bool {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && media == "application/json" {
		return true
	}
	fail(w, http.StatusUnsupportedMediaType, "UnsupportedMediaType", "Send it as Content-Type: application/json")
	return false
}

// failure is a refusal as the page reads it, in the form of the operations' own.
type failure struct {
	Type    string `json:"__type"`
	Message string `json:"message"`
}

func fail(w http.ResponseWriter, status int, kind, message string) {
	tell(w, status, failure{kind, message})
}

func missing(w http.ResponseWriter) {
	fail(w, http.StatusNotFound, "NotFound", "There is nothing here")
}

// tell answers in JSON.
func tell(w http.ResponseWriter, status int, answer any) {
	text, _ := json.Marshal(answer) // texts, numbers and times only
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // who has gone does not read it
}
