package imds

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
)

// crawler follows listings as cloud-init does.
type crawler struct {
	w     *wire
	token string // empty: version 1
	found map[string]string
}

// at asks for a path and returns its body; what is listed must answer.
func (c *crawler) at(t *testing.T, path string) string {
	t.Helper()
	status, body := c.ask(t, path)
	if status != "200" {
		t.Errorf("GET %s is %s, but it is listed", path, status)
	}
	return body
}

func (c *crawler) ask(t *testing.T, path string) (status, body string) {
	t.Helper()
	send := get(path)
	if c.token != "" {
		send = get(path, tokenIs+c.token)
	}
	got := c.w.raw(t, send)
	_, body, _ = strings.Cut(got, "\r\n\r\n")
	return statusOf(got), body
}

// directory reads all below a directory, whose path ends with a slash.
func (c *crawler) directory(t *testing.T, path string) {
	t.Helper()
	listing := c.at(t, path)
	if bare := c.at(t, strings.TrimSuffix(path, "/")); bare != listing {
		t.Errorf("%s lists %q, and %q without the slash", path, listing, bare)
	}
	version := strings.Count(path, "/") == 2
	for name := range strings.SplitSeq(strings.TrimSuffix(listing, "\n"), "\n") {
		if strings.HasSuffix(path, "/public-keys/") {
			name, _, _ = strings.Cut(name, "=")
			name += "/"
		}
		if version && name == "user-data" && c.w.in.UserData == nil {
			if status, _ := c.ask(t, path+name); status != "404" {
				t.Errorf("no user data: %s", status)
			}
			continue
		}
		if version && name != "user-data" {
			name += "/"
		}
		if strings.HasSuffix(name, "/") {
			c.directory(t, path+name)
			continue
		}
		_, below, _ := strings.Cut(path[1:]+name, "/")
		c.found[below] = c.at(t, path+name)
	}
}

// categoryOf returns the row of the table that a path below a version belongs to.
func categoryOf(t *testing.T, path string) metadata.Category {
	t.Helper()
	for _, c := range metadata.Categories() {
		form := regexp.MustCompile(`\\\{[^}]*\\\}`).ReplaceAllString(regexp.QuoteMeta(c.Path), `[^/]+`)
		if regexp.MustCompile("^" + form + "$").MatchString(path) {
			return c
		}
	}
	t.Fatalf("%s is in no row", path)
	return metadata.Category{}
}

// Under every version, what is listed answers, what is there in the latest version is there if the
// version knew it, and nothing newer shows. (Versions sort as texts: "1.0", the dates, "latest".)
func TestCrawl(t *testing.T) {
	for name, launch := range map[string]func() *openimds.Instance{"full": fixedInstance, "bare": bareInstance} {
		for _, mode := range []openimds.TokensMode{openimds.TokensOptional, openimds.TokensRequired} {
			t.Run(name+", tokens "+string(mode), func(t *testing.T) {
				t.Parallel()
				in := launch()
				in.Options.Tokens = mode
				s := NewServer(Config{Now: func() time.Time { return noon }, Credentials: fixedCredentials{}})
				c := &crawler{w: serveWire(t, s, in, listenOn(t, "127.0.0.1:0"))}
				if mode == openimds.TokensRequired {
					c.token = c.w.token(t)
				}
				c.everything(t)
			})
		}
	}
}

// everything crawls all versions and compares each with the latest.
func (c *crawler) everything(t *testing.T) {
	t.Helper()
	c.found = map[string]string{}
	c.directory(t, "/latest/")
	latest, since := c.found, map[string]string{}
	for path := range latest {
		since[path] = categoryOf(t, path).VisibleSince
	}
	if len(latest) < 30 {
		t.Errorf("there are only %d leaves", len(latest))
	}
	for version := range strings.SplitSeq(c.at(t, "/"), "\n") {
		c.found = map[string]string{}
		c.directory(t, "/"+version+"/")
		for path := range c.found {
			if _, ok := latest[path]; !ok {
				t.Errorf("/%s/%s is not in the latest version", version, path)
			}
		}
		for path, value := range latest {
			got, shown := c.found[path]
			if want := since[path] <= version; shown != want {
				t.Errorf("/%s/%s is listed: %v, want %v", version, path, shown, want)
			}
			if shown && got != value {
				t.Errorf("/%s/%s = %q, in the latest version %q", version, path, got, value)
			}
			if shown {
				continue
			}
			if status, _ := c.ask(t, "/"+version+"/"+path); status != "404" {
				t.Errorf("/%s/%s is newer and answers %s", version, path, status)
			}
		}
	}
}
