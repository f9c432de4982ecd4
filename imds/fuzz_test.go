package imds

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/session"
)

// seeds are requests of all kinds, with tokens that open at noon.
func seeds(t testing.TB) []string {
	tokens, all := standIns(t), []string{
		get("/"), get(amiPath), get(amiPath, tokenIs+"{TOKEN}"), get(amiPath, tokenIs+"{LATE}"), get(amiPath, tokenIs+"{FOREIGN}"), get(amiPath, tokenIs),
		get(amiPath, tokenIs+"{TOKEN}", tokenIs+"{TOKEN}"), get(amiPath, tokenIs+"{TOKEN}", "X-Forwarded-For: 1"), get("/latest/user-data?{TOKEN}"),
		put(tokenPath, ttlIs+"60"), put(tokenPath, ttlIs+"0"), put(tokenPath, ttlIs+"60", "Origin: x"), put(tokenPath, ttlIs+"60", "Expect: 100-continue"),
		put("/1.0/api/token"), put("//latest/api/token"), lines("HEAD "+rolePath+" HTTP/1.1", tokenIs+"{TOKEN}"), lines("OPTIONS * HTTP/1.1"), lines("POST / HTTP/1.1"),
		lines("CONNECT evil:80 HTTP/1.1"), "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nHost: a\r\n\r\n" + second, "GET /\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET / HTTP/1.1\nHost: x\n\n", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "\r\n" + get("/"), "\r\n\r\n" + get("/"), get(amiPath, "X-aws-ec2-metadata-token:"), put("/latest/api/token/", ttlIs+"60"), "\x16\x03\x01\x02\x00",
		get("http://169.254.169.254/latest/?x"), get("http://[::1/"), get("http:///latest"), get("/%zz"), get("/%2e%2e/%00"), get("mailto:x"), get("latest"), get("/#a"),
		get("/", "Content-Length: 1", "Transfer-Encoding: chunked"), get("/", "Content-Length: 2") + "ab" + second, get("/", "Transfer-Encoding: chunked") + "0\r\n\r\n",
		get("/", "Transfer-Encoding: gzip, chunked"), get("/", "Transfer-Encoding: chunked", "Trailer: Content-Length"), get("/", "X-A: \xff\t b", "A:"),
		get(amiPath, "X-Pad: "+strings.Repeat("a", 3000)), get("/" + strings.Repeat("a", 8200)), get(amiPath, "X-Pad: "+strings.Repeat("a", 17000)),
	}
	for i := range all {
		all[i] = tokens.Replace(all[i])
	}
	return all
}

// recorder is a connection whose peer sends pieces and then closes its side.
type recorder struct {
	in, out []byte
	piece   int
}

func (c *recorder) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.in[:min(c.piece, len(c.in))])
	c.in = c.in[n:]
	return n, nil
}

func (c *recorder) Write(p []byte) (int, error)      { c.out = append(c.out, p...); return len(p), nil }
func (c *recorder) Close() error                     { return nil }
func (c *recorder) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (c *recorder) RemoteAddr() net.Addr             { return c.LocalAddr() }
func (c *recorder) SetDeadline(time.Time) error      { return nil }
func (c *recorder) SetReadDeadline(time.Time) error  { return nil }
func (c *recorder) SetWriteDeadline(time.Time) error { return nil }

// fuzzGuest is the fixed instance without a socket.
func fuzzGuest(t testing.TB, mode openimds.TokensMode) *Guest {
	t.Helper()
	in := fixedInstance()
	in.Options.Tokens = mode
	g := NewServer(Config{Now: func() time.Time { return noon }, Credentials: fixedCredentials{}}).NewGuest()
	if err := g.Set(in); err != nil {
		t.Fatal(err)
	}
	return g
}

// pieces serves a connection on which sent arrives so many bytes at a time.
func pieces(g *Guest, sent []byte, piece int) string {
	g.server.serving.Add(1)
	g.enter()
	// The hop limit cannot be set on a recorder, which ends a PUT without an answer: see there.
	w, c := newWorkspace(), &recorder{in: sent, piece: piece}
	g.server.converse(c, g, 0, w)
	return string(c.out)
}

// Whatever arrives, in whatever pieces: one well-formed answer or none, and no data without a
// session where sessions are required.
func FuzzConnection(f *testing.F) {
	for i, s := range seeds(f) {
		f.Add([]byte(s), i*7)
	}
	required, optional := fuzzGuest(f, openimds.TokensRequired), fuzzGuest(f, openimds.TokensOptional)
	f.Fuzz(func(t *testing.T, sent []byte, piece int) {
		if piece <= 0 {
			piece = 1 + -(piece % 64)
		}
		for _, g := range []*Guest{required, optional} {
			x, complete := g.respond(sent, false, newWorkspace())
			whole := ""
			if complete {
				whole = string(x.out)
			}
			checkAnswer(t, g, sent, whole)
			inPieces := pieces(g, sent, piece)
			checkAnswer(t, g, sent, inPieces)
			// How it arrives must not matter, but for which of several faults is found first. A PUT has
			// no answer on a connection that cannot limit its hops.
			if x.hopLimit == 0 && inPieces != whole && (statusOf(whole) < "400" || statusOf(inPieces) < "400") && complete {
				t.Errorf("whole: %q\nin pieces of %d: %q", whole, piece, inPieces)
			}
			if n := g.active.Load(); n != 0 {
				t.Fatalf("%d connections are left", n)
			}
		}
	})
}

// checkAnswer says whether an answer is one that sent may get.
func checkAnswer(t *testing.T, g *Guest, sent []byte, answer string) {
	t.Helper()
	if answer == "" {
		return
	}
	method, _, _ := strings.Cut(strings.TrimPrefix(string(sent), "\r\n"), " ")
	r := bufio.NewReader(strings.NewReader(answer))
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q is no answer: %v", answer, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || r.Buffered() > 0 {
		t.Fatalf("%q: %d bytes too many, %v", answer, r.Buffered(), err)
	}
	if resp.Header.Get("Server") != "EC2ws" || !resp.Close || resp.ContentLength < 0 {
		t.Errorf("headers of %q", answer)
	}
	if resp.StatusCode != 200 || method == "OPTIONS" && len(body) == 0 || method == "PUT" && newToken.Match(body) {
		return
	}
	if st := g.state.Load(); st.instance.Options.Tokens == openimds.TokensRequired && !opens(st, sent) {
		t.Errorf("%q gets %q", sent, answer)
	}
}

// readByTheirs reads a request as the standard library does, which skips no empty line.
func readByTheirs(sent []byte) (*http.Request, error) {
	return http.ReadRequest(bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(sent, crlf))))
}

// opens says whether a request has a token that opens a session, by the standard library's reading.
func opens(st *state, sent []byte) bool {
	req, err := readByTheirs(sent)
	if err != nil {
		return false
	}
	tokens := req.Header.Values("X-Aws-Ec2-Metadata-Token")
	if len(tokens) != 1 || len(req.Header["X-Forwarded-For"]) > 0 {
		return false
	}
	_, err = st.sealer.Open([]byte(tokens[0]), noon, new(session.Scratch))
	return err == nil
}

// What our parser accepts, the standard library's accepts too and reads in the same way.
func FuzzParserAgainstNetHTTP(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add([]byte(s))
	}
	g := fuzzGuest(f, openimds.TokensOptional)
	f.Fuzz(func(t *testing.T, sent []byte) {
		end, err := headEnd(sent)
		if err != nil || end == 0 {
			return
		}
		var r request
		if r.parse(sent[:end]) != nil {
			return
		}
		theirs, err := readByTheirs(sent)
		if err != nil {
			if bytes.Contains(bytes.ToLower(sent[:end]), []byte("\r\ntrailer:")) {
				return // it speaks of a body, which this service never reads
			}
			// It refuses targets already while parsing. Here they must not lead anywhere.
			if _, uerr := url.ParseRequestURI(string(r.target)); uerr == nil && r.method != methodOther {
				t.Fatalf("only we accept %q: %v", sent, err)
			}
			if x, _ := g.respond(sent, false, newWorkspace()); statusOf(string(x.out)) < "400" {
				t.Fatalf("only we accept the target of %q, and answer %q", sent, x.out)
			}
			return
		}
		compare(t, &r, theirs)
	})
}

// compare holds what our parser read against what theirs did.
func compare(t *testing.T, r *request, theirs *http.Request) {
	t.Helper()
	methods := map[string]method{"GET": methodGet, "HEAD": methodHead, "PUT": methodPut, "OPTIONS": methodOptions}
	if r.method != methods[theirs.Method] || string(r.target) != theirs.RequestURI || r.minor != min(theirs.ProtoMinor, 1) {
		t.Errorf("%+v, theirs %s %s %s", r, theirs.Method, theirs.RequestURI, theirs.Proto)
	}
	if r.target[0] == '/' && string(r.host) != theirs.Host {
		t.Errorf("Host %q, theirs %q", r.host, theirs.Host)
	}
	header := func(name string, count int, last []byte) {
		values := theirs.Header.Values(name)
		if len(values) != count || count > 0 && values[count-1] != string(last) {
			t.Errorf("%s: %d, the last %q, theirs %q", name, count, last, values)
		}
	}
	header("X-Aws-Ec2-Metadata-Token", r.tokenCount, r.token)
	header("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", r.ttlCount, r.ttl)
	for name, here := range map[string]bool{"X-Forwarded-For": r.forwarded, "Origin": r.origin, "Expect": r.expect} {
		if _, there := theirs.Header[name]; here != there {
			t.Errorf("%s: %v, theirs %v", name, here, there)
		}
	}
	if agents := theirs.Header.Values("User-Agent"); len(agents) > 0 && agents[len(agents)-1] != string(r.userAgent) {
		t.Errorf("User-Agent %q, theirs %q", r.userAgent, agents)
	}
	if there := theirs.ContentLength != 0; r.hasBody != there {
		t.Errorf("a body: %v, theirs %v", r.hasBody, there)
	}
}

// A path means what decoding it once and resolving it by the standard library gives.
func FuzzPath(f *testing.F) {
	for _, s := range []string{
		"", "/", "//", "/latest/meta-data/", "/a/./b/../c", "/../..", "/..a/b..", "/%2e%2e/a", "/a%2fb", "/%252e", "/%", "/%2", "/%zz", "/%00",
		"/a%2F%2e%2E%2Fb", "/...", "/a/..", "a", "..", "/\xff/%ff", "/a//../b", strings.Repeat("/..", 100), strings.Repeat("/a", 100) + strings.Repeat("/..", 99),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		const before = "kept/.."
		got, ok := cleanPath([]byte(before), raw)
		decoded, err := url.PathUnescape(string(raw))
		if ok != (err == nil) {
			t.Fatalf("%q: accepted: %v, theirs: %v", raw, ok, err)
		}
		if !ok {
			return
		}
		want := path.Clean("/" + decoded)[1:]
		if string(got) != before+want {
			t.Errorf("%q is %q, theirs %q", raw, got, want)
		}
	})
}

// Whatever a Host is, no name that a web page can have is let through.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"", "localhost", "localhost:80", "evil.example", "evil.example.:80", "169.254.169.254", "[::1]:80", "[fe80::1%eth0]", "1.2.3", "a@b", ":", "[", "[]", "..", "a.b:c"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, host []byte) {
		status := hostStatus(host, map[string]bool{"instance-data.ec2.internal": true})
		if status != 0 && status != 400 && status != 403 {
			t.Fatalf("status %d", status)
		}
		if status != 0 || len(host) == 0 {
			return
		}
		u, err := url.Parse("http://" + string(host) + "/")
		if err != nil {
			if host[0] == '[' { // zones, which theirs wants encoded
				return
			}
			t.Fatalf("%q is let through, and is no host: %v", host, err)
		}
		name := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
		if net.ParseIP(name) == nil && host[0] != '[' && strings.Contains(name, ".") && name != "instance-data.ec2.internal" {
			t.Errorf("%q is let through", host)
		}
	})
}
