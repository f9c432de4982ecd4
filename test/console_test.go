package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/bolt"
)

// story is what browser/console.js says of one of its stories.
type story struct {
	Name    string         `json:"name"`
	Millis  int            `json:"ms"`
	Error   string         `json:"error"`
	Figures map[string]int `json:"figures"`
}

// TestConsole has a browser use the console of the real program, as people do. Pictures of all pages are left in
// browser/pictures, to be looked at.
func TestConsole(t *testing.T) {
	t.Parallel()
	need(t, "node")
	if _, err := os.Stat("browser/node_modules/playwright-core"); err != nil {
		t.Skip("playwright-core is not installed: run 'npm ci' in test/browser")
	}
	chromium := browser(t)
	dir := t.TempDir()
	fillStore(t, filepath.Join(dir, "small"), openimds.NewInstance(openimds.Launch{Name: "demo", Region: "us-east-1"}, time.Now().Add(-time.Hour)))
	fillLarge(t, filepath.Join(dir, "large"), 10_000)
	pictures, err := filepath.Abs("browser/pictures")
	if err != nil {
		t.Fatal(err)
	}
	// A story waits for minutes where it waits for seconds in vain.
	ctx, cancel := context.WithTimeout(t.Context(), 16*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", filepath.Join("browser", "console.js"), chromium, dir, pictures)
	cmd.Env = without(os.Environ(), "OPENIMDS_", "AWS_")
	// It takes its servers and its browser along.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	told := 0
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); told++ {
		var s story
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatalf("%v: %s", err, lines.Bytes())
		}
		t.Run(s.Name, func(t *testing.T) {
			if s.Error != "" {
				t.Error(s.Error)
			}
			t.Logf("%d ms %v", s.Millis, s.Figures)
		})
	}
	if err != nil || told == 0 {
		t.Errorf("node: %v, after %d stories\n%s", err, told, said.Bytes())
	}
}

// browser is the path of a Chromium of this machine.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		// What only installs the browser when it is called is none.
		if path, err := exec.LookPath(name); err == nil && exec.Command(path, "--version").Run() == nil {
			return path
		}
	}
	t.Skip("chromium is not installed")
	return ""
}

// fillLarge makes a store with many instances.
func fillLarge(t *testing.T, dataDir string, count int) {
	t.Helper()
	if err := os.Mkdir(dataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	kept, err := bolt.Open(filepath.Join(dataDir, "openimds.db"))
	if err != nil {
		t.Fatal(err)
	}
	const atOnce = 100 // what a commit may have
	var changes []store.Change
	for i := range count {
		in := openimds.NewInstance(openimds.Launch{Name: fmt.Sprintf("web-%05d", i), Region: "us-east-1"}, time.Now().Add(-time.Hour))
		value, err := records.EncodeInstance(in)
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, store.Change{Key: records.InstancePrefix + in.Name, Value: value, If: store.IfAbsent})
		if len(changes) < atOnce && i < count-1 {
			continue
		}
		if _, err := kept.Commit(t.Context(), changes...); err != nil {
			t.Fatal(err)
		}
		changes = nil
	}
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}
}
