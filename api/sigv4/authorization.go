package sigv4

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm   = "AWS4-HMAC-SHA256"
	terminator  = "aws4_request"
	stampLayout = "20060102T150405Z" // ISO 8601, basic format
)

// scope is what a signing key is good for.
type scope struct{ keyID, day, region, service string }

// String is the scope as it stands in the string to sign.
func (s scope) String() string {
	return s.day + "/" + s.region + "/" + s.service + "/" + terminator
}

// authorization is what a request says of its signature.
type authorization struct {
	algorithm  string
	credential []string // the parts of Credential: key id, day, region, service, terminator
	scope      scope
	signed     []string // the names of SignedHeaders
	signature  string
	dateHeader string // the name of the header that stamp comes from
	stamp      string
}

// parseAuthorization reads the Authorization header and finds the date.
func parseAuthorization(r *http.Request) (*authorization, error) {
	values := r.Header.Values("Authorization")
	presigned := r.URL.Query()
	byQuery := presigned.Has("X-Amz-Algorithm") || presigned.Has("X-Amz-Credential") || presigned.Has("X-Amz-Signature")
	switch {
	case len(values) == 0 || len(values) == 1 && values[0] == "":
		return nil, errMissing // for presigned requests too: they are made for links, not for an API
	case byQuery:
		return nil, refuse(codeInvalid, "A request is signed by its Authorization header or by its query, not by both.")
	case len(values) > 1:
		return nil, refuse(codeIncomplete, "A request has one Authorization header, not %d.", len(values))
	}
	a := new(authorization)
	// AWS once repeated the header itself here; whatever somebody put in it would reach a log.
	sum := sha256.Sum256([]byte(values[0]))
	digest := base64.StdEncoding.EncodeToString(sum[:])
	var list string
	a.algorithm, list, _ = strings.Cut(strings.TrimSpace(values[0]), " ")
	params := map[string]string{}
	for param := range strings.SplitSeq(list, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(param), "=")
		if name == "" {
			continue
		}
		if !ok {
			return nil, refuse(codeIncomplete, "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): '%s'.", digest)
		}
		if _, twice := params[name]; twice {
			return nil, refuse(codeIncomplete, "Authorization header has a parameter twice. (Hashed with SHA-256 and encoded with Base64) Authorization=%s", digest)
		}
		params[name] = value
	}
	for _, name := range []string{"X-Amz-Date", "Date"} {
		if a.stamp = r.Header.Get(name); a.stamp != "" {
			a.dateHeader = strings.ToLower(name)
			break
		}
	}
	var missing string
	for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
		if params[name] == "" {
			missing += "Authorization header requires '" + name + "' parameter. "
		}
	}
	if a.stamp == "" {
		missing += "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
	}
	if missing != "" {
		return nil, refuse(codeIncomplete, "%s(Hashed with SHA-256 and encoded with Base64) Authorization=%s", missing, digest)
	}
	a.credential = strings.Split(params["Credential"], "/")
	a.signed = strings.Split(params["SignedHeaders"], ";")
	a.signature = params["Signature"]
	return a, nil
}

// ClaimedService is the service that a request says to be signed for; empty: it says none. Nothing of it
// is verified: it tells whom a request is for, who then has the signature checked for that service.
func ClaimedService(r *http.Request) string { return claimed(r, 3) }

// ClaimedRegion is to the region what [ClaimedService] is to the service.
func ClaimedRegion(r *http.Request) string { return claimed(r, 2) }

func claimed(r *http.Request, part int) string {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	credential, _, _ = strings.Cut(credential, ",")
	if parts := strings.Split(credential, "/"); len(parts) == 5 {
		return parts[part]
	}
	return ""
}

// checkDate refuses a date that is malformed, or too far from now.
func (a *authorization) checkDate(now time.Time) error {
	t, err := time.Parse(stampLayout, a.stamp)
	if err != nil || t.Format(stampLayout) != a.stamp { // Parse also takes fractions
		return refuse(codeIncomplete, "Date must be in ISO-8601 'basic format'. Got '%.40s'. See http://en.wikipedia.org/wiki/ISO_8601", a.stamp)
	}
	now = now.UTC().Truncate(time.Second)
	earliest, latest := now.Add(-MaxSkew), now.Add(MaxSkew)
	const minutes = int(MaxSkew / time.Minute)
	if t.Before(earliest) {
		return refuse(codeInvalid, "Signature expired: %s is now earlier than %s (%s - %d min.)",
			a.stamp, earliest.Format(stampLayout), now.Format(stampLayout), minutes)
	}
	if t.After(latest) {
		return refuse(codeInvalid, "Signature not yet current: %s is still later than %s (%s + %d min.)",
			a.stamp, latest.Format(stampLayout), now.Format(stampLayout), minutes)
	}
	return nil
}

// headersOf gathers what can be signed, by lower-case name. net/http keeps host and content-length
// outside of the header.
func headersOf(r *http.Request) map[string][]string {
	headers := make(map[string][]string, len(r.Header)+2)
	for name, values := range r.Header {
		name = strings.ToLower(name)
		headers[name] = append(headers[name], values...)
	}
	headers["host"] = []string{r.Host}
	delete(headers, "content-length")
	if r.ContentLength >= 0 {
		headers["content-length"] = []string{strconv.FormatInt(r.ContentLength, 10)}
	}
	return headers
}

// readOnce are the headers that decide something here. Each has to be there once: of two with one name,
// one part of a program may see the first and another the last.
var readOnce = []string{"host", "content-type", "content-length", "date", "x-amz-date", "x-amz-target", "x-amz-content-sha256", "x-amz-security-token"}

// checkSigned refuses a request of which anything that matters is not signed, or can be read in two
// ways.
func (a *authorization) checkSigned(headers map[string][]string) error {
	for i, name := range a.signed {
		if name == "" || name != strings.ToLower(name) || i > 0 && name <= a.signed[i-1] {
			return refuse(codeInvalid, "'SignedHeaders' must be names in lower case, sorted, each once.")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		_, signed := slices.BinarySearch(a.signed, name)
		if !signed && (name == "host" || name == a.dateHeader || strings.HasPrefix(name, "x-amz-")) {
			return refuse(codeInvalid, "'%.100s' must be a 'SignedHeader' in the AWS Authorization.", http.CanonicalHeaderKey(name))
		}
	}
	for _, name := range a.signed {
		if n := len(headers[name]); n == 0 || n > 1 && slices.Contains(readOnce, name) {
			return refuse(codeInvalid, "The signed header '%.100s' must be in the request once, not %d times.", name, n)
		}
	}
	return nil
}

// checkScope refuses a signature that was made by another algorithm, or for something else.
func (a *authorization) checkScope(regions []string, service string) error {
	if a.algorithm != algorithm {
		return refuse(codeIncomplete, "Unsupported AWS 'algorithm': '%.40s' (only %s for now).", a.algorithm, algorithm)
	}
	c := a.credential
	if len(c) != 5 {
		// AWS shows the value. Half of such mistakes are a secret in the place of the key id.
		return refuse(codeIncomplete, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got %d", len(c))
	}
	a.scope = scope{keyID: c[0], day: c[1], region: c[2], service: c[3]}
	var wrong []string
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if !slices.Contains(regions, c[2]) {
		add("Credential should be scoped to a valid region, not '%.40s'.", c[2])
	}
	if c[3] != service {
		add("Credential should be scoped to correct service: '%s'.", service)
	}
	if c[4] != terminator {
		add("Credential should be scoped with a valid terminator: '%s', not '%.40s'.", terminator, c[4])
	}
	if day := a.stamp[:8]; c[1] != day {
		add("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%.40s' != '%s', from '%s'.", c[1], day, a.stamp)
	}
	if wrong != nil {
		return refuse(codeInvalid, "%s", strings.Join(wrong, " "))
	}
	return nil
}
