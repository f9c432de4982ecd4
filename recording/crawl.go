package recording

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
)

// The bounds of a crawl, beside those of a recording.
const (
	maxDepth    = 16
	maxNotes    = 100
	defaultRate = 50
)

// Config says what to crawl and how.
type Config struct {
	// URL is the address of the service: "http://169.254.169.254".
	URL string
	// UserData keeps the user data too, which often holds secrets.
	UserData bool
	// AllowV1 goes on without a session where the service has no version 2.
	AllowV1 bool
	// Rate is how many requests a second are made; 0: 50.
	Rate int
	// Agent is how the crawler calls itself.
	Agent string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Report tells of a crawl.
type Report struct {
	// Blanked and Absent are paths: of secrets that were replaced, and of what was listed and not there.
	Blanked, Absent []string
	// Skipped says, a line each, what was left out and why.
	Skipped []string
	// V1 says that the service was asked without a session.
	V1 bool
}

// unlisted are paths that answer and that no listing shows.
var unlisted = []string{"latest/dynamic/fws/", "latest/dynamic/fws/instance-monitoring"}

// Crawl records what a metadata service answers: its list of versions, and all that is listed below
// "latest". Session tokens and secret keys are in no recording. What cannot be recorded is skipped and
// reported; only a service that does not answer at all, or stops to, is an error.
func Crawl(ctx context.Context, cfg Config) (*openimds.Recording, *Report, error) {
	base, err := parseBase(cfg.URL)
	if err != nil {
		return nil, nil, err
	}
	if cfg.Rate == 0 {
		cfg.Rate = defaultRate
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &crawler{
		cfg: cfg, client: newClient(base, cfg.Agent, cfg.Rate, cfg.AllowV1), report: &Report{}, seen: map[string]bool{},
		recording: &openimds.Recording{Source: base, RecordedAt: cfg.Now().UTC().Truncate(time.Second)},
	}
	defer c.client.ticks.Stop()
	if err := c.client.session(ctx); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", base, err)
	}
	c.report.V1 = c.client.token == ""
	for _, path := range append([]string{"", "latest/"}, unlisted...) {
		if err := c.visit(ctx, path, 0); err != nil {
			return nil, nil, err
		}
	}
	if err := metadata.ValidateRecording(c.recording); err != nil {
		return nil, nil, fmt.Errorf("%s does not answer as a metadata service: %w", base, err)
	}
	return c.recording, c.report, nil
}

type crawler struct {
	cfg       Config
	client    *client
	recording *openimds.Recording
	report    *Report
	seen      map[string]bool // paths without a slash at the end
	size      int             // of the recording
	full      bool
}

func (c *crawler) skip(path, why string, args ...any) {
	switch n := len(c.report.Skipped); {
	case n < maxNotes:
		c.report.Skipped = append(c.report.Skipped, fmt.Sprintf("%.200q: ", "/"+path)+fmt.Sprintf(why, args...))
	case n == maxNotes:
		c.report.Skipped = append(c.report.Skipped, "and more")
	}
}

// visit records a path, and if it ends with a slash all that it lists.
func (c *crawler) visit(ctx context.Context, path string, depth int) error {
	name, dir := strings.CutSuffix(path, "/")
	dir = dir || path == ""
	if c.full || c.seen[name] {
		return nil
	}
	c.seen[name] = true
	it := openimds.RecordedItem{Path: name, Listing: dir}
	if name == "latest/user-data" && !c.cfg.UserData {
		it.State, it.Listing = openimds.RecordedWithheld, false
		c.keep(it)
		return nil
	}
	a, err := c.client.get(ctx, pathOnWire(path))
	if err != nil {
		return fmt.Errorf("GET %s%s: %w", c.client.base, pathOnWire(path), err)
	}
	it.ContentType, it.Modified, it.Body = a.contentType, a.modified, a.body
	switch {
	case a.status == http.StatusNotFound:
		if !slices.Contains(unlisted, path) {
			it = openimds.RecordedItem{Path: name, State: openimds.RecordedAbsent}
			c.report.Absent = append(c.report.Absent, "/"+name)
			c.keep(it)
		}
		return nil
	case a.status >= 300 && a.status < 400:
		c.skip(path, "the answer is a redirect (%d), which is not followed", a.status)
		return nil
	case a.status != http.StatusOK:
		c.skip(path, "the answer is %d", a.status)
		return nil
	case a.tooLarge:
		c.skip(path, "the answer has more than %d bytes", maxBody)
		return nil
	}
	if holdsSecrets("/"+name, it.Body, dir) {
		dir, it.Listing = false, false // nothing that looks like credentials is taken for names
		if body, hidden := blank(it.Body); hidden {
			it.Body, it.State = body, openimds.RecordedBlanked
			c.report.Blanked = append(c.report.Blanked, "/"+name)
		}
	}
	if !c.keep(it) || !dir || path == "" {
		return nil
	}
	return c.follow(ctx, path, a.body, depth+1)
}

// keep adds an item to the recording if it can be served and there is room for it.
func (c *crawler) keep(it openimds.RecordedItem) bool {
	err := metadata.ValidateRecordedItem(&it)
	if err != nil && it.ContentType != "text/plain" && it.State != openimds.RecordedAbsent {
		untyped := it
		untyped.ContentType = "text/plain"
		if metadata.ValidateRecordedItem(&untyped) == nil {
			c.skip(it.Path, "the content type %.60q cannot be kept; it is text/plain now", it.ContentType)
			it, err = untyped, nil
		}
	}
	if err != nil {
		c.skip(it.Path, "%s", err)
		return false
	}
	size := len(it.Path) + len(it.ContentType) + len(it.Body)
	if len(c.recording.Items) >= metadata.MaxRecordedItems || c.size+size+len(c.recording.Source) > metadata.MaxRecordedBytes {
		c.full = true
		c.skip(it.Path, "the recording is full; nothing from here on is in it")
		return false
	}
	c.size += size
	c.recording.Items = append(c.recording.Items, it)
	return true
}

// follow visits what a listing lists.
func (c *crawler) follow(ctx context.Context, dir string, listing []byte, depth int) error {
	if depth > maxDepth {
		c.skip(dir, "what lies %d directories deep is not looked at", depth)
		return nil
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(listing), "\n"), "\n") {
		line = strings.TrimSuffix(line, "\r")
		name, below := strings.CutSuffix(line, "/")
		switch dir {
		case "latest/": // lists its directories without a slash
			below = below || name == "meta-data" || name == "dynamic"
		case "latest/meta-data/public-keys/": // "0=name" is the directory 0
			name, _, below = strings.Cut(name, "=")
		}
		err := metadata.ValidateRecordedItem(&openimds.RecordedItem{Path: dir + name, ContentType: "text/plain"})
		if line == "" || err != nil || strings.Contains(name, "/") {
			c.skip(dir, "the name %.60q is not one that can be asked for", line)
			continue
		}
		if below {
			name += "/"
		}
		if err := c.visit(ctx, dir+name, depth); err != nil || c.full {
			return err
		}
	}
	return nil
}

// pathOnWire writes a path so that the service decodes it to just these names.
func pathOnWire(path string) string {
	names := strings.Split(path, "/")
	for i := range names {
		names[i] = url.PathEscape(names[i])
	}
	return "/" + strings.Join(names, "/")
}
