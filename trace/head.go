package trace

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"

	"github.com/openimds/openimds/processes"
	"github.com/openimds/openimds/usage"
)

// mostHead is the longest head of a request that is put together; longer ones are unknown.
const mostHead = 8 << 10

// headEnd finds the end of the first head in b: the length with the empty line; 0: it is not there yet.
func headEnd(b []byte) int {
	for at := 0; ; {
		line := bytes.IndexByte(b[at:], '\n')
		if line < 0 {
			return 0
		}
		at += line + 1
		switch rest := b[at:]; {
		case bytes.HasPrefix(rest, []byte("\r\n")):
			return at + 2
		case bytes.HasPrefix(rest, []byte("\n")):
			return at + 1
		}
	}
}

// request is what is kept of a head. The values of headers with secrets are not.
type request struct {
	method, path string
	group        string
	userAgent    string
	forwarded    bool
	token        bool // a session token was sent
	asksToken    bool // it is a request for one
	body         int  // bytes that follow; -1: it is not known how many
}

// parseHead reads a head that is complete. It is lenient: what the service makes of a strange one is
// not known here, so that only what names a caller is looked for. ok is false of what is no HTTP at all.
func parseHead(head []byte, to netip.Addr, clean *cleaner) (r request, ok bool) {
	lines := bytes.Split(head, []byte("\n"))
	words := strings.Fields(string(lines[0]))
	if len(words) < 2 || !method(words[0]) {
		return request{}, false
	}
	r.method = words[0]
	r.target(words[1], to, clean)
	for _, line := range lines[1:] {
		name, value, found := bytes.Cut(line, []byte(":"))
		if !found {
			continue
		}
		value = bytes.TrimSpace(value)
		switch strings.ToLower(string(bytes.TrimSpace(name))) {
		case "x-aws-ec2-metadata-token":
			r.token = true
		case "user-agent":
			r.userAgent = short(clean.text(string(value)), 256)
		case "x-forwarded-for":
			r.forwarded = true
		case "content-length":
			r.body = length(value, r.body)
		case "transfer-encoding":
			r.body = -1
		}
	}
	return r, true
}

func length(value []byte, before int) int {
	n, err := strconv.ParseUint(string(value), 10, 31)
	if err != nil || before < 0 {
		return -1
	}
	return int(n)
}

// target takes what may be shown from a request's target: no query, no fragment. Paths of credentials for
// containers are secrets themselves.
func (r *request) target(target string, to netip.Addr, clean *cleaner) {
	if _, rest, found := strings.Cut(target, "://"); found {
		if slash := strings.IndexByte(rest, '/'); slash >= 0 {
			target = rest[slash:]
		} else {
			target = "/"
		}
	}
	path, _, _ := strings.Cut(target, "?")
	path, _, _ = strings.Cut(path, "#")
	if serviceOf(to) != Metadata {
		r.group = "credentials"
		return
	}
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		if part != "" {
			parts = append(parts, part)
		}
	}
	whole := "/" + strings.Join(parts, "/")
	if len(parts) > 0 && strings.HasSuffix(path, "/") {
		whole += "/" // a list of what is there is another question than what is there
	}
	r.group = usage.GroupOf(strings.Trim(whole, "/"))
	r.asksToken = r.method == "PUT" && r.group == "api/token"
	r.path = short(clean.text(whole), 256)
}

// cleaner hides secrets in texts. Most texts come again and again and have none: these it remembers, and no others.
type cleaner struct{ harmless map[string]bool }

// mostHarmless texts are remembered at most, none of which is longer than longestHarmless.
const mostHarmless, longestHarmless = 4096, 256

func newCleaner() *cleaner { return &cleaner{map[string]bool{}} }

func (c *cleaner) text(s string) string {
	if c.harmless[s] {
		return s
	}
	clean := processes.BlankText(s)
	if clean == s && len(s) <= longestHarmless {
		if len(c.harmless) == mostHarmless {
			clear(c.harmless)
		}
		c.harmless[s] = true
	}
	return clean
}

func method(word string) bool {
	return len(word) <= 16 && strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

func short(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// statusOf reads the status of the first bytes of an answer; 0: there is none.
func statusOf(b []byte) int {
	if len(b) < answerStart || b[8] != ' ' {
		return 0
	}
	n, err := strconv.ParseUint(string(b[9:12]), 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}
