package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/credentials"
)

// Whatever is wrong with a Config is one line with the members that it is about, before anything is made.
func TestWrongConfigs(t *testing.T) {
	real, err := credentials.ParseSource("static:/nowhere")
	must(t, err)
	for want, change := range map[string]func(*Config){
		"DataDir":                               func(c *Config) { c.DataDir = "" },
		"IMDSListen: ":                          func(c *Config) { c.IMDSListen = nil },
		`IMDSListen "here"`:                     func(c *Config) { c.IMDSListen = []string{"127.0.0.1:0", "here"} },
		`APIListen "127.0.0.1:65536"`:           func(c *Config) { c.APIListen = "127.0.0.1:65536" },
		"APIListen 0.0.0.0:0 is open to other":  func(c *Config) { c.APIListen = "0.0.0.0:0" },
		"APICert and APIKey belong together":    func(c *Config) { c.APIKey = "key" },
		"APICA says how":                        func(c *Config) { c.APICA = "ca" },
		"APITimeout 1ms is not from 1s to 50s":  func(c *Config) { c.APITimeout = time.Millisecond },
		"APIConnections must":                   func(c *Config) { c.APIConnections = 1 },
		"DefaultInstance: ":                     func(c *Config) { c.DefaultInstance = "a b" },
		"GuestRate, GuestBurst and GuestConnec": func(c *Config) { c.GuestConnections = -1 },
		"GuestRate must be a number":            func(c *Config) { c.GuestRate = math.NaN() },
		"GuestBurst must be at least 1":         func(c *Config) { c.GuestBurst = 0 },
		`AllowHosts "http://x"`:                 func(c *Config) { c.AllowHosts = []string{"http://x"} },
		"Uplinks: ":                             func(c *Config) { c.Uplinks = []string{"a/b"} },
		"region":                                func(c *Config) { c.Region = "here" },
		"IMDSShared and IMDSAllowUsers":         func(c *Config) { c.IMDSShared, c.IMDSAllowUsers = true, []string{"0"} },
		"RoleCredentials gives real":            func(c *Config) { c.RoleCredentials = map[string]*credentials.Source{"*": real} },
		"AlarmWebhook is not a URL":             func(c *Config) { c.AlarmWebhook = "nowhere" },
		"MetricsWrite: it is not a URL":         func(c *Config) { c.MetricsWrite = "nowhere" },
		"MetricsFrom: it has a user in it":      func(c *Config) { c.MetricsFrom = "https://me:secret@h" },
		"MetricsFrom: it has more than a path":  func(c *Config) { c.MetricsFrom = "https://h?token=secret" },
		"MetricsCA is of an engine":             func(c *Config) { c.MetricsCA = "ca" },
		"MetricsFrom: the user and the file":    func(c *Config) { c.MetricsFrom, c.MetricsUser = "https://h", "me" },
		"MetricsFrom: give a token or a user": func(c *Config) {
			c.MetricsFrom, c.MetricsTokenFile, c.MetricsUser, c.MetricsPasswordFile = "https://h", "t", "me", "p"
		},
		"MetricsWrite: a token or a password": func(c *Config) { c.MetricsWrite, c.MetricsTokenFile = "http://192.0.2.1/", "t" },
		"MetricsWrite and MetricsFrom belong": func(c *Config) { c.Store, c.MetricsWrite = "etcd://127.0.0.1:1", "http://127.0.0.1:1/" },
		"MetricsWrite and MetricsFrom belong together with HostsListen": func(c *Config) {
			c.HostsListen, c.MetricsWrite = "127.0.0.1:0", "http://127.0.0.1:1/"
		},
	} {
		dir := filepath.Join(t.TempDir(), "data")
		cfg := forTest(dir)
		change(&cfg)
		_, err := Open(t.Context(), cfg)
		if _, ok := errors.AsType[ConfigError](err); !ok || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", want, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%q: a data directory was made", want)
		}
	}
}

// Errors have the words of whoever set the members, and no others.
func TestMembersAreNamed(t *testing.T) {
	cfg := forTest(t.TempDir())
	asked := map[string]bool{}
	cfg.Named = func(member string) string {
		asked[member] = true
		return "--" + strings.ToLower(member)
	}
	cfg.APIListen = "0.0.0.0:0"
	_, err := Open(t.Context(), cfg)
	if err == nil || !strings.HasPrefix(err.Error(), "--apilisten 0.0.0.0:0 is open") || !strings.Contains(err.Error(), "give --apicert and --apikey") {
		t.Errorf("%v", err)
	}
	for member := range asked {
		if _, ok := reflect.TypeFor[Config]().FieldByName(member); !ok {
			t.Errorf("the Config has no %s", member)
		}
	}
}

// What a start in vain has opened is closed: the next one finds it free.
func TestOpenInVain(t *testing.T) {
	dir := t.TempDir()
	first := openInstallation(t, forTest(dir))
	cfg := forTest(t.TempDir())
	cfg.IMDSListen = []string{first.imds}
	if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "another program does") {
		t.Fatalf("%v", err)
	}
	cfg.IMDSListen = []string{"127.0.0.1:0"}
	second, err := Open(t.Context(), cfg)
	must(t, err)
	second.Close()
}

// A server that is closed without having served leaves its data as they are.
func TestCloseWithoutServe(t *testing.T) {
	cfg := forTest(t.TempDir())
	cfg.ReadyFile = filepath.Join(t.TempDir(), "ready")
	s, err := Open(t.Context(), cfg)
	must(t, err)
	id := s.Instance().ID
	s.Close()
	if _, err := os.Stat(cfg.ReadyFile); err == nil {
		t.Error("it says that it is ready")
	}
	s, err = Open(t.Context(), cfg)
	must(t, err)
	defer s.Close()
	if s.Instance().ID != id {
		t.Errorf("the instance is %s, was %s", s.Instance().ID, id)
	}
}

// A deadline is an end like any other.
func TestServeUntilADeadline(t *testing.T) {
	s, err := Open(t.Context(), forTest(t.TempDir()))
	must(t, err)
	defer s.Close()
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if err := s.Serve(ctx); err != nil {
		t.Errorf("%v", err)
	}
}

// The end is told as the context says it.
func TestServeEndsWithTheCause(t *testing.T) {
	s, err := Open(t.Context(), forTest(t.TempDir()))
	must(t, err)
	defer s.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if err := s.Serve(ctx); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
}

// A cause that says that nothing more was wanted is no error: a signal, for the program.
func TestServeUntilCanceled(t *testing.T) {
	s, err := Open(t.Context(), forTest(t.TempDir()))
	must(t, err)
	defer s.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(fmt.Errorf("somebody has asked for the end: %w", context.Canceled))
	if err := s.Serve(ctx); err != nil {
		t.Errorf("%v", err)
	}
}
