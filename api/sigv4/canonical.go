package sigv4

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// canonical writes the request in the form that is signed, for a path as it was sent and a body of that hash.
func (a *authorization) canonical(r *http.Request, path string, headers map[string][]string, hash string) (string, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || r.URL.Opaque != "" {
		// net/url passes over the malformed parts, so nobody would have signed them.
		return "", refuse(codeInvalid, "The request's URL is malformed.")
	}
	var b strings.Builder
	b.WriteString(r.Method + "\n" + canonicalPath(path) + "\n" + canonicalQuery(query) + "\n")
	for _, name := range a.signed {
		b.WriteString(name + ":")
		for i, value := range headers[name] {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(trimAll(value))
		}
		b.WriteByte('\n')
	}
	b.WriteString("\n" + strings.Join(a.signed, ";") + "\n" + hash)
	return b.String(), nil
}

// stringToSign is what the signature is made over.
func (a *authorization) stringToSign(canonical string) string {
	return algorithm + "\n" + a.stamp + "\n" + a.scope.String() + "\n" + hexHash([]byte(canonical))
}

// Path is the path that a request asks for, encoded as it was sent, with one slash in front: clients put a slash behind
// an endpoint that ends in one.
func Path(r *http.Request) string { return "/" + strings.TrimLeft(r.URL.EscapedPath(), "/") }

// signedPaths are the paths that a client may have signed. Some sign the slashes in front as they send them, botocore
// makes them one; they mean the same to whoever answers.
func signedPaths(r *http.Request) []string {
	sent, short := cmp.Or(r.URL.EscapedPath(), "/"), Path(r)
	if sent == short {
		return []string{sent}
	}
	return []string{sent, short}
}

// canonicalPath encodes the path as it was sent once more: all services but S3 ask for that. Dots and
// double slashes further behind stay, because clients differ in what they make of them.
func canonicalPath(path string) string { return strings.ReplaceAll(escape(path), "%2F", "/") }

// canonicalQuery sorts the parameters by name and value, both encoded.
func canonicalQuery(query url.Values) string {
	var params [][2]string
	for name, values := range query {
		for _, value := range values {
			params = append(params, [2]string{escape(name), escape(value)})
		}
	}
	slices.SortFunc(params, func(a, b [2]string) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
	})
	parts := make([]string, len(params))
	for i, p := range params {
		parts[i] = p[0] + "=" + p[1]
	}
	return strings.Join(parts, "&")
}

// escape encodes every byte but RFC 3986's unreserved ones.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// trimAll removes blanks around a value, and makes runs of them one.
func trimAll(value string) string {
	for strings.Contains(value, "  ") {
		value = strings.ReplaceAll(value, "  ", " ")
	}
	return strings.TrimSpace(value)
}

func hexHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// isHash says whether a text has the form of [hexHash].
func isHash(s string) bool {
	return len(s) == 2*sha256.Size && strings.Trim(s, "0123456789abcdef") == ""
}

func sign(key []byte, text string) string { return hex.EncodeToString(mac(key, text)) }

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// maxKeys bounds the cache of signing keys.
const maxKeys = 256

// keyCache remembers, for each access key, the signing key made last: a client stays with one
// region, and a day has many requests.
type keyCache struct {
	mu      sync.Mutex
	entries map[string]keyEntry // by access key id
}

type keyEntry struct {
	scope  scope
	secret string
	key    []byte
}

// signingKey derives the key that signs for a scope. An entry counts only as long as the access key
// still has the secret that it was made of.
func (c *keyCache) signingKey(s scope, secret string) []byte {
	c.mu.Lock()
	e := c.entries[s.keyID]
	c.mu.Unlock()
	if e.key != nil && e.scope == s && e.secret == secret {
		return e.key
	}
	key := []byte("AWS4" + secret)
	for _, part := range []string{s.day, s.region, s.service, terminator} {
		key = mac(key, part)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil || len(c.entries) >= maxKeys {
		c.entries = make(map[string]keyEntry)
	}
	c.entries[s.keyID] = keyEntry{scope: s, secret: secret, key: key}
	return key
}

// drop forgets the access key.
func (c *keyCache) drop(keyID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, keyID)
}
