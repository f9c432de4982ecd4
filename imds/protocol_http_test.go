package imds

import (
	"testing"
)

// What holds of every answer, and which methods and forms of a request there are.
func TestHTTP(t *testing.T) {
	notAllowed := refusedAllow("405 Not Allowed", "GET, HEAD, OPTIONS")
	of := func(method, path string, headers ...string) string {
		return lines(method+" "+path+" HTTP/1.1", headers...)
	}
	ten := func(answer string) string { return "HTTP/1.0" + answer[len("HTTP/1.0"):] }
	checkRows(t, []row{
		{"HTTP/1.0 is answered in kind", "", "GET " + amiPath + " HTTP/1.0\r\n\r\n", ten(text(amiID))},
		{"HTTP/1.0 where tokens are required", "required", "GET " + amiPath + " HTTP/1.0\r\n\r\n", ten(unauthorized)},
		{"HTTP/1.0 does not keep the connection", "", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", ten(data(launchedText, everyVersion))},
		{"HTTP/1.1 does not keep the connection", "", get(amiPath, "Connection: keep-alive"), text(amiID)},
		{"a later HTTP/1", "", "GET " + amiPath + " HTTP/1.2\r\nHost: x\r\n\r\n", text(amiID)},
		{"HTTP/2", "", "GET " + amiPath + " HTTP/2.0\r\nHost: x\r\n\r\n", refused("505 HTTP Version Not Supported")},
		{"no conditional requests", "", get(amiPath, "If-Modified-Since: "+modifiedText, "If-None-Match: *"), text(amiID)},
		{"no ranges", "", get(amiPath, "Range: bytes=0-3"), text(amiID)},
		{"no other encodings", "", get(amiPath, "Accept-Encoding: gzip, br"), text(amiID)},
		{"no other types", "", get(rolePath, "Accept: application/xml"), credentialsAnswer("ROLEV1")},
		{"no upgrades", "", get(amiPath, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), text(amiID)},
		{"no method override", "", of("POST", tokenPath, ttlIs+"60", "X-HTTP-Method-Override: PUT"), refusedAllow("405 Not Allowed", "OPTIONS, PUT")},
		{"any other header", "", get(amiPath, "X-A: b", "!#$%&'*+-.^_`|~9: \x80\xff\t", "Empty:"), text(amiID)},
		{"Expect on a GET", "", get(amiPath, "Expect: 100-continue"), expectationFailed},
		{"Expect where tokens are required", "required", get(amiPath, "Expect: x"), expectationFailed},
		{"GET with a body", "", get(amiPath, "Content-Length: 4") + "body", text(amiID)},

		{"POST", "", of("POST", amiPath), notAllowed},
		{"POST without a token where tokens are required", "required", of("POST", amiPath), notAllowed},
		{"DELETE", "", of("DELETE", "/latest/user-data"), notAllowed},
		{"PATCH", "", of("PATCH", "/"), notAllowed},
		{"TRACE", "", of("TRACE", amiPath), notAllowed},
		{"a method in lower case is another one", "", of("get", amiPath), notAllowed},
		{"a method in lower case gives no token", "", of("put", tokenPath, ttlIs+"60"), refusedAllow("405 Not Allowed", "OPTIONS, PUT")},
		{"a method that nobody knows", "", of("BREW", amiPath), notAllowed},
		{"CONNECT", "", of("CONNECT", "evil:80"), notAllowed},
		{"OPTIONS on data", "", of("OPTIONS", amiPath), refusedAllow("200 OK", "GET, HEAD, OPTIONS")},
		{"OPTIONS on data where tokens are required", "required", of("OPTIONS", amiPath), refusedAllow("200 OK", "GET, HEAD, OPTIONS")},
		{"OPTIONS on what is not there", "", of("OPTIONS", noSuch), refusedAllow("200 OK", "GET, HEAD, OPTIONS")},
		{"OPTIONS on a broken path", "", of("OPTIONS", "/%zz"), badRequest},
		{"OPTIONS *", "", of("OPTIONS", "*"), notAllowed},

		{"the rate is used up", "throttled", get(amiPath), refused("503 Service Unavailable")},
		{"the rate is used up for tokens too", "throttled", put(tokenPath, ttlIs+"60"), refused("503 Service Unavailable")},
		{"the rate is used up for what is broken", "throttled", "x\r\n\r\n", refused("503 Service Unavailable")},
	})
}

// Whom a request may say that it wants, and what a browser adds.
func TestHostAndOrigin(t *testing.T) {
	of := func(host string) string { return "GET " + amiPath + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n" }
	var rows []row
	for host, want := range map[string]string{
		"169.254.169.254": text(amiID), "169.254.169.254:80": text(amiID), "127.0.0.1:1338": text(amiID),
		"[fd00:ec2::254]": text(amiID), "[fd00:ec2::254]:80": text(amiID), "[::ffff:169.254.169.254]": text(amiID),
		"instance-data": text(amiID), "localhost": text(amiID), "localhost:1338": text(amiID), "metadata.": text(amiID), "": text(amiID),
		"instance-data.ec2.internal": text(amiID), "Instance-Data.EC2.Internal.:80": text(amiID), "imds_1": text(amiID),
		"evil.example": forbidden, "evil.example:80": forbidden, "169.254.169.254.evil.example": forbidden, "a.b": forbidden,
		"instance-data.ec2.internal.evil.example": forbidden, "metadata.google.internal": forbidden, "1.2.3": forbidden, "0x7f.1": forbidden,
		"a@b/c": badRequest, "a b": badRequest, "[::1": badRequest, "[]": badRequest, "[x]": badRequest, "::1": badRequest, ":80": badRequest,
		"localhost:x": badRequest, "ex%61mple": badRequest, "a,b": badRequest, "h\x80": badRequest, "[::1]x:80": badRequest,
	} {
		rows = append(rows, row{"Host: " + host, "", of(host), want})
	}
	checkRows(t, append(rows,
		row{"no Host in HTTP/1.1", "", "GET " + amiPath + " HTTP/1.1\r\n\r\n", badRequest},
		row{"two Hosts", "", "GET " + amiPath + " HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", badRequest},
		row{"a foreign name in absolute form", "", get("http://evil.example" + amiPath), forbidden},
		row{"a foreign name in absolute form on PUT", "", put("http://evil.example"+tokenPath, ttlIs+"60"), forbidden},
		row{"a foreign Host under an address in absolute form", "", "GET http://169.254.169.254/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", forbidden},
		row{"a foreign Host on PUT", "", "PUT " + tokenPath + " HTTP/1.1\r\nHost: evil.example\r\n" + ttlIs + "60\r\n\r\n", forbidden},
		row{"a foreign Host with a token", "required", "GET " + amiPath + " HTTP/1.1\r\nHost: evil.example\r\n" + tokenIs + "{TOKEN}\r\n\r\n", forbidden},
		row{"Origin on PUT", "", put(tokenPath, ttlIs+"60", "Origin: http://169.254.169.254"), forbidden},
		row{"an empty Origin on PUT", "", put(tokenPath, ttlIs+"60", "Origin:"), forbidden},
		row{"Origin on a PUT elsewhere", "", put("/latest/", "Origin: null"), forbidden},
		row{"Origin on GET", "", get(amiPath, "Origin: http://evil.example"), text(amiID)},
		row{"Origin on OPTIONS opens nothing to other pages", "", lines("OPTIONS "+tokenPath+" HTTP/1.1", "Origin: http://evil.example",
			"Access-Control-Request-Method: PUT"), refusedAllow("200 OK", "OPTIONS, PUT")},
	))
}
