package imds

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/session"
)

// row is one sentence of what is on record about the real service: what a guest sends, and all the
// bytes that it gets. The stand-ins of [guests] are filled in.
type row struct {
	name  string
	guest string // which of the guests; empty: "optional"
	send  string
	want  string
}

// ways are the ways that a request takes into the server.
var ways = []struct {
	name  string
	plain bool // a listener that the server knows nothing of
	ask   func(*wire, testing.TB, string) string
}{
	{"at-once", false, (*wire).raw},
	{"in-two", false, (*wire).inTwo},
	{"plain-listener", true, (*wire).raw},
}

// guests are the instances that rows are about.
func guests() map[string]func(*Config) *openimds.Instance {
	with := func(change func(*openimds.Instance)) func(*Config) *openimds.Instance {
		return func(*Config) *openimds.Instance {
			in := fixedInstance()
			change(in)
			return in
		}
	}
	failing := func(code, message string) func(*Config) *openimds.Instance {
		return func(cfg *Config) *openimds.Instance {
			cfg.Credentials = failingCredentials{code, message}
			return fixedInstance()
		}
	}
	return map[string]func(*Config) *openimds.Instance{
		"optional": with(func(*openimds.Instance) {}),
		"required": with(func(in *openimds.Instance) { in.Options.Tokens = openimds.TokensRequired }),
		"disabled": with(func(in *openimds.Instance) { in.Options.Endpoint = openimds.EndpointDisabled }),
		"bare": func(cfg *Config) *openimds.Instance {
			cfg.Credentials = nil
			return bareInstance()
		},
		"extended":                with(func(in *openimds.Instance) { in.ExtendedCredentials = true }),
		"extended without a role": with(func(in *openimds.Instance) { in.ExtendedCredentials, in.Role = true, nil }),
		"plain tags":              with(func(in *openimds.Instance) { in.Options.Tags = openimds.EndpointDisabled }),
		"no role":                 with(func(in *openimds.Instance) { in.Role = nil }),
		"unauthorized":            failing(openimds.CredentialsUnauthorized, "EC2 cannot assume the role X.  Please see documentation at <url>."),
		"no profile":              failing(openimds.CredentialsNoProfile, "Instance Profile with Id AIPA cannot be found.  Please see <url>."),
		"throttled": func(cfg *Config) *openimds.Instance {
			cfg.Rate, cfg.Burst = 0.001, 0
			return fixedInstance()
		},
		"sda1": with(func(in *openimds.Instance) {
			in.BlockDevices = []openimds.BlockDevice{{Name: "ami", Device: "/dev/sda1"}, {Name: "root", Device: "/dev/sda1"}}
		}),
	}
}

// standIns are tokens of the fixed instance and of another one.
func standIns(t testing.TB) *strings.Replacer {
	t.Helper()
	seal := func(key byte, id string, at time.Time, ttl int) string {
		s, err := session.NewSealer(newKey(key), id)
		if err != nil {
			t.Fatal(err)
		}
		return string(s.Append(nil, ttl, at, new(session.Scratch)))
	}
	id := fixedInstance().ID
	return strings.NewReplacer(
		"{TOKEN}", seal('k', id, noon, 21600),
		"{OLD}", seal('k', id, noon.Add(-17*time.Second), 21600),
		"{LAST}", seal('k', id, noon.Add(-59*time.Second), 60),
		"{LATE}", seal('k', id, noon.Add(-60*time.Second), 60),
		"{FOREIGN}", seal('x', id, noon, 21600),
		"{NAMESAKE}", seal('k', "i-0fedcba9876543210", noon, 21600),
	)
}

func newKey(b byte) openimds.Secret {
	return openimds.Secret(strings.Repeat(string(b), openimds.TokenKeySize))
}

// checkRows sends the rows to their guests in every way.
func checkRows(t *testing.T, rows []row) {
	t.Helper()
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			tokens, wires := standIns(t), map[string]*wire{}
			for _, r := range rows {
				if r.guest == "" {
					r.guest = "optional"
				}
				if wires[r.guest] == nil {
					cfg := Config{Now: func() time.Time { return noon }, Credentials: fixedCredentials{}}
					in, l := guests()[r.guest](&cfg), listenPlain(t)
					if !way.plain {
						_ = l.Close()
						l = listenOn(t, "127.0.0.1:0")
					}
					wires[r.guest] = serveWire(t, NewServer(cfg), in, l)
				}
				t.Run(r.name, func(t *testing.T) {
					w := wires[r.guest]
					got := way.ask(w, t, tokens.Replace(r.send))
					if strings.Contains(r.want, "{NEW}") {
						got = hideToken(t, w, got)
					}
					if got != r.want {
						t.Errorf("%q\ngot  %q\nwant %q", r.send, got, r.want)
					}
				})
			}
		})
	}
}

var newToken = regexp.MustCompile(`^AQAEA[A-Za-z0-9_-]{49}==$`)

// hideToken puts {NEW} in the place of the token that an answer ends with, and sees to it that the
// token opens for as long as the answer says.
func hideToken(t *testing.T, w *wire, got string) string {
	t.Helper()
	if len(got) < session.TokenSize {
		return got
	}
	rest, token := got[:len(got)-session.TokenSize], got[len(got)-session.TokenSize:]
	if !newToken.MatchString(token) {
		t.Errorf("%q is no token", token)
		return got
	}
	s, err := session.NewSealer(w.in.TokenKey, w.in.ID)
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.Open([]byte(token), noon, new(session.Scratch))
	if _, ttl, _ := strings.Cut(rest, ttlHeader); err != nil || !strings.HasPrefix(ttl, strconv.Itoa(n)+"\r\n") {
		t.Errorf("the token opens for %d s (%v), the answer is %q", n, err, rest)
	}
	return rest + "{NEW}"
}
