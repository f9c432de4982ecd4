package imds

import "testing"

// The token endpoint, PUT /latest/api/token.
func TestTokenEndpoint(t *testing.T) {
	ttl := func(seconds string) string { return put(tokenPath, ttlIs+seconds) }
	checkRows(t, []row{
		{"the shortest session", "", ttl("1"), issued(1)},
		{"the longest session", "", ttl("21600"), issued(21600)},
		{"a session of cloud-init", "required", ttl("60"), issued(60)},
		{"the header's name in lower case", "", put(tokenPath, "x-aws-ec2-metadata-token-ttl-seconds: 60"), issued(60)},
		{"the header's name in capitals", "", put(tokenPath, "X-AWS-EC2-METADATA-TOKEN-TTL-SECONDS: 60"), issued(60)},
		{"the header's name as it is answered", "", put(tokenPath, ttlHeader+"60"), issued(60)},
		{"blanks around the number", "", put(tokenPath, "X-aws-ec2-metadata-token-ttl-seconds: \t 60 \t"), issued(60)},
		{"no blank before the number", "", put(tokenPath, "X-aws-ec2-metadata-token-ttl-seconds:60"), issued(60)},
		{"leading zeros", "", ttl("00060"), issued(60)},
		{"a query on the token's path", "", put(tokenPath+"?x=1", ttlIs+"60"), issued(60)},
		{"absolute form", "", put("http://169.254.169.254/latest/api/token", ttlIs+"60"), issued(60)},
		{"HTTP/1.0", "", lines("PUT /latest/api/token HTTP/1.0", ttlIs+"60"), "HTTP/1.0" + issued(60)[len("HTTP/1.0"):]},
		{"a slash in front of the path, as clients put it behind an endpoint that ends in one", "", put("//latest/api/token", ttlIs+"60"), issued(60)},
		{"slashes in front of the path", "required", put("///latest/api/token?x=1", ttlIs+"60"), issued(60)},
		{"slashes in front of the path, absolute form", "", put("http://169.254.169.254//latest/api/token", ttlIs+"60"), issued(60)},
		{"slashes in front of the path and no TTL", "", put("//latest/api/token"), badRequest},
		{"an old token beside it", "", put(tokenPath, ttlIs+"60", tokenIs+"{LATE}"), issued(60)},

		{"no TTL", "", put(tokenPath), badRequest},
		{"no TTL where tokens are required", "required", put(tokenPath), badRequest},
		{"an empty TTL", "", ttl(""), badRequest},
		{"a TTL too long", "", ttl("21601"), badRequest},
		{"a TTL of nothing", "", ttl("0"), badRequest},
		{"a negative TTL", "", ttl("-1"), badRequest},
		{"a TTL in words", "", ttl("sixty"), badRequest},
		{"a TTL with a sign", "", ttl("+60"), badRequest},
		{"a TTL with a decimal point", "", ttl("60.0"), badRequest},
		{"a TTL in hexadecimal", "", ttl("0x3c"), badRequest},
		{"a TTL with an exponent", "", ttl("1e3"), badRequest},
		{"a TTL with a blank inside", "", ttl("6 0"), badRequest},
		{"two TTLs that differ", "", put(tokenPath, ttlIs+"60", ttlIs+"21600"), badRequest},
		{"two TTLs that agree", "", put(tokenPath, ttlIs+"60", ttlIs+"60"), badRequest},
		{"two TTLs in one header", "", ttl("60, 60"), badRequest},
		{"a TTL beyond any integer", "", ttl("99999999999999999999"), badRequest},
		{"a TTL with zeros in front", "", ttl("060"), issued(60)},
		{"a TTL with many zeros in front", "", ttl("0000000000000021600"), issued(21600)},
		{"a TTL of zeros", "", ttl("0000000000"), badRequest},

		{"X-Forwarded-For", "", put(tokenPath, ttlIs+"60", "X-Forwarded-For: 10.0.0.1"), forbidden},
		{"X-Forwarded-For, empty", "", put(tokenPath, ttlIs+"60", "X-Forwarded-For:"), forbidden},
		{"X-Forwarded-For before a bad TTL", "", put(tokenPath, ttlIs+"0", "X-Forwarded-For: 10.0.0.1"), forbidden},
		{"X-Forwarded-For on a PUT elsewhere", "", put("/latest/meta-data/", "X-Forwarded-For: 10.0.0.1"), forbidden},
		{"a version's own token path", "", put("/2021-03-23/api/token", ttlIs+"60"), forbidden},
		{"the oldest version's token path", "", put("/1.0/api/token", ttlIs+"60"), forbidden},
		{"an unknown version's token path", "", put("/2020-08-24/api/token", ttlIs+"60"), forbidden},
		{"a version's token path before a bad TTL", "", put("/2021-03-23/api/token"), forbidden},
		{"the endpoint is off", "disabled", ttl("60"), forbidden},

		{"PUT on data", "", put("/latest/meta-data/ami-id", ttlIs+"60"), forbidden},
		{"PUT on the root", "required", put("/", ttlIs+"60"), forbidden},
		{"PUT on user data", "", put("/latest/user-data", ttlIs+"60"), forbidden},
		{"PUT on what is not there", "", put("/latest/nothing", ttlIs+"60"), forbidden},

		{"an empty chunked body", "", put(tokenPath, ttlIs+"60", "Transfer-Encoding: chunked") + "0\r\n\r\n", issued(60)},
		{"an empty body", "", put(tokenPath, ttlIs+"60", "Content-Length: 0"), issued(60)},
		{"a body", "", put(tokenPath, ttlIs+"60", "Content-Length: 5") + "hello", issued(60)},
		{"a form", "", put(tokenPath, ttlIs+"60", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 3") + "a=b", issued(60)},
		{"Expect: 100-continue", "", put(tokenPath, ttlIs+"60", "Expect: 100-continue"), expectationFailed},
		{"Expect: 100-continue where tokens are required", "required", put(tokenPath, ttlIs+"60", "expect: 100-Continue", "Content-Length: 5"), expectationFailed},
		{"another expectation", "", put(tokenPath, ttlIs+"60", "Expect: more"), expectationFailed},
	})
}

func TestTokenEndpointOtherMethods(t *testing.T) {
	const allow = "OPTIONS, PUT"
	notAllowed := refusedAllow("405 Not Allowed", allow)
	of := func(method string, headers ...string) string {
		return lines(method+" /latest/api/token HTTP/1.1", headers...)
	}
	checkRows(t, []row{
		{"GET", "", of("GET"), notAllowed},
		{"GET with the TTL of a PUT", "", of("GET", ttlIs+"60"), notAllowed},
		{"GET with a token", "", of("GET", tokenIs+"{TOKEN}"), notAllowed},
		{"GET without a token where tokens are required", "required", of("GET"), notAllowed},
		{"GET with a bad token", "", of("GET", tokenIs+"{LATE}"), notAllowed},
		{"HEAD", "", of("HEAD"), notAllowed},
		{"POST", "", of("POST", ttlIs+"60"), notAllowed},
		{"POST with a body", "", of("POST", ttlIs+"60", "Content-Length: 2") + "{}", notAllowed},
		{"DELETE", "", of("DELETE", ttlIs+"60"), notAllowed},
		{"PATCH", "required", of("PATCH", ttlIs+"60"), notAllowed},
		{"OPTIONS", "", of("OPTIONS", ttlIs+"60"), refusedAllow("200 OK", allow)},
		{"OPTIONS where tokens are required", "required", of("OPTIONS"), refusedAllow("200 OK", allow)},
		{"GET, with a slash in front", "", get("//latest/api/token"), notAllowed},
		{"POST, with a slash in front", "", lines("POST //latest/api/token HTTP/1.1"), notAllowed},
		{"OPTIONS, with a slash in front", "", lines("OPTIONS //latest/api/token HTTP/1.1"), refusedAllow("200 OK", allow)},
		{"the directory above", "", get("/latest/api"), notFound},
		{"the directory above, with a slash", "", get("/latest/api/"), notFound},
		{"the directory above, with a token", "required", get("/latest/api/", tokenIs+"{TOKEN}"), left(21600, notFound)},
		{"it is never listed", "", get("/latest/"), data(modifiedText, "dynamic\nmeta-data\nuser-data")},
		{"below the token", "", get("/latest/api/token/x"), notFound},
		{"the token path of an older version has nothing to GET", "", get("/2021-03-23/api/token"), notFound},
	})
}

// Spellings of the token's path other than the documented one give no token, though some of them
// name it to a GET. PUT /latest/api/token/ is on record.
func TestTokenPathSpellings(t *testing.T) {
	var rows []row
	for _, path := range []string{
		"/latest/api/token/", "/latest//api/token", "/latest/./api/token", "/latest/x/../api/token", "/latest%2fapi%2ftoken",
		"/%6catest/api/token", "/%2flatest/api/token", "/./latest/api/token", "//latest//api/token", "//latest/api/token/",
		"/LATEST/api/token", "/latest/api/Token", "/latest/api/token%00", "/latest/api/token;x", "/latest/api/token#x",
		"/latest/meta-data/api/token", "/api/token", "/", "//", "*", "ftp://169.254.169.254/latest/api/token",
		"http://169.254.169.254", "latest/api/token", "\\latest/api/token",
	} {
		rows = append(rows, row{"PUT " + path, "", put(path, ttlIs+"60"), forbidden})
	}
	checkRows(t, rows)
}
