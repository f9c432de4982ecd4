package imds

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// second is a request that nobody may get an answer to: whoever hides it behind another one.
var second = get("/latest/user-data")

// What is no HTTP, or what two parsers may read differently.
func TestMalformedRequests(t *testing.T) {
	bad := func(name, send string) row { return row{name, "", send, badRequest} }
	withHeader := func(line string) string { return get(amiPath, line) }
	checkRows(t, []row{
		bad("a blank before the colon", withHeader("X-Forwarded-For : 1")),
		bad("a tab before the colon", withHeader("X-Forwarded-For\t: 1")),
		bad("a NUL in a value", withHeader("X-A: a\x00b")),
		bad("a carriage return in a value", withHeader("X-A: a\rb")),
		bad("DEL in a value", withHeader("X-A: a\x7fb")),
		bad("an escape in a value", withHeader("X-A: \x1b[2J")),
		bad("a name with a byte that no name has", withHeader("X-A\x80: b")),
		bad("a name with a colon's relative", withHeader("X(A): b")),
		bad("no name", withHeader(": b")),
		bad("no colon", withHeader("X-A")),
		bad("a blank first", "GET / HTTP/1.1\r\n Host: x\r\n\r\n"),
		bad("a folded header", withHeader("X-A: a\r\n X-Forwarded-For: 1")),
		bad("a header folded with a tab", withHeader("X-A: a\r\n\tb")),
		bad("a folded TTL", put(tokenPath, "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n 0")),
		bad("line feeds alone", "GET / HTTP/1.1\nHost: x\n\n"),
		bad("a line feed alone after the request line", "GET / HTTP/1.1\nHost: x\r\n\r\n"),
		bad("a line feed alone between headers", "GET / HTTP/1.1\r\nHost: x\nX-A: b\r\n\r\n"),
		bad("a line feed alone at the end", "GET / HTTP/1.1\r\nHost: x\r\n\n"),
		{"an empty line first", "", "\r\n" + get(amiPath), text(amiID)},
		{"an empty line before a PUT", "required", "\r\n" + put(tokenPath, ttlIs+"60"), issued(60)},
		bad("two empty lines first", "\r\n\r\n"+get(amiPath)),
		bad("an empty line that is not empty", " \r\n"+get(amiPath)),
		bad("a line feed first", "\n"+get(amiPath)),
		bad("a carriage return first", "\r"+get(amiPath)),
		bad("an empty line and a line feed first", "\r\n\n"+get(amiPath)),
		bad("nothing but empty lines", "\r\n\r\n"),
		bad("an empty line before what is no HTTP", "\r\n\x16\x03\x01\r\n\r\n"),
		bad("two blanks", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n"),
		bad("a tab for a blank", "GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n"),
		bad("a blank at the end of the line", "GET / HTTP/1.1 \r\nHost: x\r\n\r\n"),
		bad("a blank in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n"),
		bad("a control character in the target", "GET /a\x01b HTTP/1.1\r\nHost: x\r\n\r\n"),
		bad("DEL in the target", "GET /a\x7fb HTTP/1.1\r\nHost: x\r\n\r\n"),
		bad("no target", "GET HTTP/1.1\r\nHost: x\r\n\r\n"),
		bad("no method", " / HTTP/1.1\r\nHost: x\r\n\r\n"),
		bad("a method that is no token", "G(T / HTTP/1.1\r\nHost: x\r\n\r\n"),
		bad("no version", "GET /\r\n\r\n"),
		bad("HTTP/0.9", "GET /\r\n"),
		bad("a version in lower case", "GET / http/1.1\r\nHost: x\r\n\r\n"),
		bad("a version with three digits", "GET / HTTP/1.10\r\nHost: x\r\n\r\n"),
		bad("another protocol's version", "GET / RTSP/1.0\r\nHost: x\r\n\r\n"),
		bad("a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		bad("an SSH hello", "SSH-2.0-OpenSSH_9.9\r\n"),
		{"an HTTP/2 preface", "", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refused("505 HTTP Version Not Supported")},
		{"bytes that are no ASCII in the path", "", get("/latest/\xff\xc0\xaf"), notFound},
		{"bytes that are no ASCII in a value", "", withHeader("User-Agent: \xff\xfe"), text(amiID)},
	})
}

// Lengths that contradict each other, and requests behind requests: exactly one answer, then the end.
func TestSmuggling(t *testing.T) {
	const chunked = "Transfer-Encoding: chunked"
	length := func(n string) string { return "Content-Length: " + n }
	behind := func(name, want string, headers ...string) row {
		return row{name, "", get(amiPath, headers...) + "0\r\n\r\n" + second, want}
	}
	unknown := refused("501 Not Implemented")
	checkRows(t, []row{
		{"two requests at once", "", get(amiPath) + second, text(amiID)},
		{"two requests with keep-alive", "", get(amiPath, "Connection: keep-alive") + second, text(amiID)},
		{"a token and its use", "", put(tokenPath, ttlIs+"60") + second, issued(60)},
		{"a request behind a refusal", "required", get(amiPath) + second, unauthorized},
		{"a request behind a 417", "", put(tokenPath, ttlIs+"60", "Expect: 100-continue", length("3")) + "abc" + second, expectationFailed},
		{"a request within a body", "", get(amiPath, length(strconv.Itoa(len(second)))) + second, text(amiID)},
		{"a body that never comes", "", put(tokenPath, ttlIs+"60", length("100")) + "ab", issued(60)},
		{"a body of ten gigabytes", "", put(tokenPath, ttlIs+"60", length("10000000000")) + "ab", issued(60)},
		behind("length and chunks", badRequest, length("4"), chunked),
		behind("chunks and length", badRequest, chunked, length("4")),
		behind("length and chunks, spelt otherwise", badRequest, length("4"), "transfer-encoding: \tCHUNKED"),
		behind("two lengths that agree", badRequest, length("4"), length("4")),
		behind("two lengths that differ", badRequest, length("0"), length("4")),
		behind("two lengths in one", badRequest, length("4, 4")),
		behind("a length with a sign", badRequest, length("+2")),
		behind("a length below zero", badRequest, length("-1")),
		behind("a length in hexadecimal", badRequest, length("0x1")),
		behind("a length beyond any integer", badRequest, length("99999999999999999999")),
		behind("an empty length", badRequest, "Content-Length:"),
		behind("chunks twice", badRequest, chunked, chunked),
		behind("chunks twice in one", unknown, "Transfer-Encoding: chunked, chunked"),
		behind("gzip, then chunks", unknown, "Transfer-Encoding: gzip, chunked"),
		behind("nearly chunks", unknown, "Transfer-Encoding: xchunked"),
		behind("chunks with a vertical tab", badRequest, "Transfer-Encoding: \vchunked"),
		behind("identity", unknown, "Transfer-Encoding: identity"),
		behind("no encoding", unknown, "Transfer-Encoding:"),
		behind("chunks", text(amiID), chunked),
		{"chunks in HTTP/1.0", "", "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second, "HTTP/1.0" + badRequest[len("HTTP/1.1"):]},
		{"a chunk with an extension and a line feed", "", put(tokenPath, ttlIs+"60", chunked) + "1;x=\n\r\na\r\n0\r\n\r\n" + second, issued(60)},
		{"a chunk of hexadecimal", "", put(tokenPath, ttlIs+"60", chunked) + "0x1\r\na\r\n0\r\n\r\n" + second, issued(60)},
		{"a bomb in a body", "", get(amiPath, "Content-Encoding: gzip", length("4")) + "\x1f\x8b\x08\x00", text(amiID)},
	})
}

// The request may end just where the server's buffer does, so that nothing shows what comes behind.
func TestRequestAtTheEndOfTheBuffer(t *testing.T) {
	var rows []row
	for size := 2 << 10; size <= maxHead; size *= 2 {
		send := get(amiPath, "X-Pad: "+strings.Repeat("a", size-len(get(amiPath, "X-Pad: "))))
		rows = append(rows, row{strconv.Itoa(size), "", send + second, text(amiID)})
	}
	checkRows(t, rows)
}

func TestLimitsOfAHead(t *testing.T) {
	tooLarge := refused("431 Request Header Fields Too Large")
	path := func(line int) string { return "/" + strings.Repeat("a", line-len("GET / HTTP/1.1")) }
	padded := func(size int) string {
		return get(amiPath, "X-Pad: "+strings.Repeat("a", size-len(get(amiPath, "X-Pad: "))))
	}
	checkRows(t, []row{
		{"the longest request line", "", get(path(8192)), notFound},
		{"a request line one byte too long", "", get(path(8193)), tooLarge},
		{"a request line one byte too long where tokens are required", "required", get(path(8193)), tooLarge},
		{"a target of 64 KiB", "", get(path(64 << 10)), tooLarge},
		{"a request line that does not end", "", "GET /" + strings.Repeat("a", 32<<10), tooLarge},
		{"a header of 11 KiB", "", get(amiPath, "X-Pad: "+strings.Repeat("a", 11<<10)), text(amiID)},
		{"a header of 16 KiB", "", get(amiPath, "X-Pad: "+strings.Repeat("a", 16<<10)), tooLarge},
		{"the longest head", "", padded(16384), text(amiID)},
		{"a head one byte too long", "", padded(16385), tooLarge},
		{"2000 headers", "", get(amiPath, strings.Split(strings.Repeat("a:\n", 2000), "\n")[:2000]...), text(amiID)},
		{"4200 headers", "", get(amiPath, strings.Split(strings.Repeat("a:\n", 4200), "\n")[:4200]...), tooLarge},
		{"a head that does not end", "", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-A: b\r\n", 4000), tooLarge},
		{"a TTL of 200 kB", "", put(tokenPath, ttlIs+strings.Repeat("6", 200_000)), tooLarge},
		{"a token of 10 KiB", "", get(amiPath, tokenIs+strings.Repeat("A", 10<<10)), unauthorized},
		{"a path of many slashes", "", get(strings.Repeat("/", 8000)), data(launchedText, everyVersion)},
		{"a path of many dots", "", get(strings.Repeat("/..", 2700)), data(launchedText, everyVersion)},
		{"1000 ranges", "", get(amiPath, "Range: bytes=0-0"+strings.Repeat(",0-0", 1000)), text(amiID)},
		{"an agent of 10 KiB", "", get(amiPath, "User-Agent: "+strings.Repeat("x", 10<<10)), text(amiID)},
	})
}

// Headers by which other services know their callers, or believe proxies. Here they mean nothing.
func TestHeadersThatSayWhoAsks(t *testing.T) {
	var rows []row
	for _, h := range []string{
		"X-Instance-ID: i-0fedcba9876543210", "X-Tenant-ID: other", "X-Instance-ID-Signature: 00", "X-Metadata-Provider: x",
		"X-Neutron-Network-ID: n", "X-Neutron-Router-ID: r", "Forwarded: for=10.0.0.1", "X-Real-IP: 10.0.0.1", "Via: 1.1 proxy",
		"True-Client-IP: 10.0.0.1", "X_Forwarded_For: 10.0.0.1", "X-Original-Forwarded-For: 10.0.0.1", "X-Forwarded-Host: evil.example",
		"X-Forwarded-Proto: https", "X-Original-URL: /latest/user-data", "X-Rewrite-URL: /latest/user-data", "Proxy: http://evil.example",
	} {
		rows = append(rows,
			row{"GET, " + h, "", get(amiPath, h), text(amiID)},
			row{"GET without a token, " + h, "required", get(amiPath, h), unauthorized},
			row{"PUT, " + h, "", put(tokenPath, ttlIs+"60", h), issued(60)})
	}
	for _, h := range []string{"X-Forwarded-For: 1", "x-forwarded-for: 1", "X-FORWARDED-FOR: 1", "X-Forwarded-For:", "X-Forwarded-For: a\r\nX-Forwarded-For: b",
		"Connection: X-Forwarded-For\r\nX-Forwarded-For: 1"} {
		rows = append(rows,
			row{"PUT, " + h, "", put(tokenPath, ttlIs+"60", h), forbidden},
			row{"GET with a token, " + h, "", get(amiPath, tokenIs+"{TOKEN}", h), forbidden})
	}
	for _, target := range []string{amiPath + "?ip=10.0.0.2", amiPath + "?instance-id=i-0fedcba9876543210"} {
		rows = append(rows, row{"GET " + target, "", get(target), text(amiID)})
	}
	checkRows(t, rows)
}

// The service fetches nothing for anybody: an address in a request is not connected to.
func TestNoConnectionOutwards(t *testing.T) {
	w := newWire(t, nil)
	bait, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer bait.Close()
	addr := bait.Addr().String()
	for _, send := range []string{
		get("http://" + addr + amiPath), get("https://" + addr + "/"), lines("CONNECT " + addr + " HTTP/1.1"),
		get(amiPath, "Proxy: http://"+addr), get("http://169.254.169.254/?u=http://" + addr), put(tokenPath, ttlIs+"60", "Referer: http://"+addr),
	} {
		w.raw(t, send)
	}
	_ = bait.(*net.TCPListener).SetDeadline(time.Now().Add(50 * time.Millisecond))
	if c, err := bait.Accept(); err == nil {
		_ = c.Close()
		t.Error("the service connected to an address of a request")
	}
}

// However an acceptable request is cut, its beginning is never taken for a broken one.
func TestBeginningsAreWaitedFor(t *testing.T) {
	for _, send := range append(seeds(t), get("/"+strings.Repeat("a", 8192-len("GET / HTTP/1.1"))), get("/"+strings.Repeat("a", 8191-len("GET / HTTP/1.1")))) {
		end, err := headEnd([]byte(send))
		if err != nil || end == 0 || new(request).parse([]byte(send)[:end]) != nil {
			continue
		}
		for n := range end {
			if got, err := headEnd([]byte(send)[:n]); got != 0 || err != nil {
				t.Errorf("%d bytes of %.80q: %d, %v", n, send, got, err)
				break
			}
		}
	}
}
