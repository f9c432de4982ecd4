package accesskeys_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds/api/accesskeys"
)

func place(t *testing.T) string { return filepath.Join(t.TempDir(), "credentials") }

// write makes the file as an editor would.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func ensure(t *testing.T, path string) *accesskeys.File {
	t.Helper()
	f, err := accesskeys.Ensure(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func create(t *testing.T, f *accesskeys.File, profile string, readOnly bool) accesskeys.Key {
	t.Helper()
	key, err := f.Create(profile, readOnly)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// holds asserts what a lookup finds.
func holds(t *testing.T, f *accesskeys.File, key accesskeys.Key, want bool) {
	t.Helper()
	got, ok, err := f.Lookup(key.ID)
	if err != nil || ok != want || ok && got != key {
		t.Errorf("Lookup(%s) = %v, %t, %v; want it to be there: %t", key.ID, got, ok, err, want)
	}
}

func TestEnsure(t *testing.T) {
	path := place(t)
	f := ensure(t, path)
	form := regexp.MustCompile(`^\[default\]\naws_access_key_id = (AKIAI[A-Z2-7]{15})\naws_secret_access_key = ([A-Za-z0-9+/]{40})\n$`)
	made := form.FindStringSubmatch(read(t, path))
	if made == nil {
		t.Fatal("the file does not have the form of a first one")
	}
	holds(t, f, accesskeys.Key{ID: made[1], Secret: made[2], Profile: "default"}, true)
	again := ensure(t, path)
	holds(t, again, accesskeys.Key{ID: made[1], Secret: made[2], Profile: "default"}, true)
	if keys, err := again.List(); err != nil || len(keys) != 1 || keys[0] != (accesskeys.Key{ID: made[1], Profile: "default"}) {
		t.Errorf("List = %+v, %v", keys, err)
	}
	for _, id := range []string{"", "AKIAOTHER", made[1] + "x", strings.ToLower(made[1])} {
		holds(t, f, accesskeys.Key{ID: id}, false)
	}
}

// TestEnsureTogether has many processes start on the same empty directory.
func TestEnsureTogether(t *testing.T) {
	path := place(t)
	var starting sync.WaitGroup
	for range 16 {
		starting.Go(func() {
			if _, err := accesskeys.Ensure(path); err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
	if n := strings.Count(read(t, path), "[default]"); n != 1 {
		t.Errorf("%d first keys were made", n)
	}
}

func TestCreateAndRevoke(t *testing.T) {
	path := place(t)
	f := ensure(t, path)
	first, err := f.List()
	if err != nil {
		t.Fatal(err)
	}
	text := read(t, path)
	ops, watcher := create(t, f, "ops@example.org", false), create(t, f, "watcher", true)
	if ops.ReadOnly || !watcher.ReadOnly || ops.ID == watcher.ID || ops.Secret == watcher.Secret {
		t.Errorf("made were %v and %v", ops, watcher)
	}
	holds(t, f, ops, true)
	holds(t, f, watcher, true)
	if at := read(t, path); strings.Index(at, "openimds_read_only = true") > strings.Index(at, watcher.ID) {
		t.Error("the restriction stands behind what it restricts")
	}
	if _, err := f.Revoke("watcher", false); err != nil {
		t.Fatal(err)
	}
	holds(t, f, watcher, false)
	if _, err := f.Revoke(ops.ID, false); err != nil { // by its id
		t.Fatal(err)
	}
	holds(t, f, ops, false)
	if now := read(t, path); now != text {
		t.Errorf("what came and went left\n%q in place of\n%q", now, text)
	}
	watcher = create(t, f, "watcher", true)
	want := fmt.Sprintf("%s is the last key with full access: create another one first, or force it", first[0])
	if _, err := f.Revoke("default", false); err == nil || err.Error() != want {
		t.Errorf("the last key with full access: %v", err)
	}
	if _, err := f.Revoke("watcher", false); err != nil {
		t.Error(err)
	}
	if _, err := f.Revoke("default", true); err != nil {
		t.Error(err)
	}
	if keys, err := f.List(); err != nil || len(keys) != 0 {
		t.Errorf("at the end there are %v, %v", keys, err)
	}
	holds(t, f, create(t, f, "default", false), true)
}

func TestRefused(t *testing.T) {
	path := place(t)
	f := ensure(t, path)
	text := read(t, path)
	for _, profile := range []string{"", " ", "a b", "a]", "[a", "a\nb", "ä", "#", strings.Repeat("x", 65)} {
		if _, err := f.Create(profile, false); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("the profile %q: %v", profile, err)
		}
	}
	if _, err := f.Create("default", true); err == nil || !strings.Contains(err.Error(), "has a profile default already") {
		t.Errorf("a profile that is there: %v", err)
	}
	for _, name := range []string{"", "nobody", "AKIANOBODY"} {
		if _, err := f.Revoke(name, true); err == nil || !strings.Contains(err.Error(), "has no key of the name or id") {
			t.Errorf("Revoke(%q): %v", name, err)
		}
	}
	if read(t, path) != text {
		t.Error("a refusal changed the file")
	}
	if _, err := accesskeys.Open(filepath.Join(t.TempDir(), "none")).Create("a", false); err == nil {
		t.Error("a key was made in a file that does not exist")
	}
}

// TestEdited has a person edit the file while a server has it open.
func TestEdited(t *testing.T) {
	path := place(t)
	f := ensure(t, path)
	const text = "\ufeff"
	for what, tt := range map[string]struct {
		text string
		want []accesskeys.Key
	}{
		"empty":    {"", nil},
		"comments": {"# [default]\n; aws_access_key_id = AKIA1\n", nil},
		"no key":   {"[default]\nregion = us-east-1\n", nil},
		"crlf":     {"[a]\r\naws_access_key_id=AKIA1\r\naws_secret_access_key=s\r\n", []accesskeys.Key{{ID: "AKIA1", Secret: "s", Profile: "a"}}},
		"blanks, capitals and other settings": {
			"  [a]  \n\tAWS_Access_Key_ID =  AKIA1 \n region=x\ns3 =\n  max_concurrent_requests = 20\n aws_secret_access_key\t=\ta=b+/== \n",
			[]accesskeys.Key{{ID: "AKIA1", Secret: "a=b+/==", Profile: "a"}},
		},
		"read only": {
			"[a]\nopenimds_read_only = true\naws_access_key_id = AKIA1\naws_secret_access_key = s\n[b]\naws_access_key_id = AKIA2\naws_secret_access_key = t\nopenimds_read_only = false",
			[]accesskeys.Key{{ID: "AKIA1", Secret: "s", Profile: "a", ReadOnly: true}, {ID: "AKIA2", Secret: "t", Profile: "b"}},
		},
	} {
		write(t, path, tt.text)
		var want []accesskeys.Key
		for _, key := range tt.want {
			holds(t, f, key, true)
			key.Secret = ""
			want = append(want, key)
		}
		if keys, err := f.List(); err != nil || !reflect.DeepEqual(keys, want) {
			t.Errorf("%s: List = %+v, %v; want %+v", what, keys, err, want)
		}
	}
	key := func(lines string) string {
		return "[a]\naws_access_key_id = AKIA1\naws_secret_access_key = canary\n" + lines
	}
	for what, text := range map[string]string{
		"a byte order mark":        text + key(""),
		"a setting of no profile":  "aws_access_key_id = AKIA1\n" + key(""),
		"a line that is nothing":   key("word\n"),
		"an open bracket":          key("[b\n"),
		"a name with blanks":       key("[profile b]\n"),
		"words behind a name":      key("[b] # comment\n"),
		"a profile twice":          key("[a]\n"),
		"a setting twice":          key("aws_secret_access_key = canary2\n"),
		"an id in two profiles":    key("[b]\naws_access_key_id = AKIA1\naws_secret_access_key = canary\n"),
		"an id without a secret":   key("[b]\naws_access_key_id = AKIA2\n"),
		"a secret without an id":   key("[b]\naws_secret_access_key = canary\n"),
		"a secret with a comment":  key("[b]\naws_access_key_id = AKIA2\naws_secret_access_key = canary # mine\n"),
		"an id with a slash":       key("[b]\naws_access_key_id = AKIA/2\naws_secret_access_key = canary\n"),
		"a misspelt restriction":   key("openimds_read_only = yes\n"),
		"a restriction in capital": key("openimds_read_only = True\n"),
		"an empty restriction":     key("openimds_read_only =\n"),
	} {
		write(t, path, text)
		for _, id := range []string{"AKIA1", "AKIA2", "AKIANOBODY"} {
			if _, ok, err := f.Lookup(id); ok || err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: Lookup(%s) = %t, %v", what, id, ok, err)
			}
		}
		if _, err := f.Create("new", false); err == nil {
			t.Errorf("%s: a key was made", what)
		}
		if _, err := f.Revoke("a", true); err == nil || read(t, path) != text {
			t.Errorf("%s: the file was changed", what)
		}
		if _, err := accesskeys.Ensure(path); err == nil {
			t.Errorf("%s: a server starts on it", what)
		}
	}
	write(t, path, key(""))
	holds(t, f, accesskeys.Key{ID: "AKIA1", Secret: "canary", Profile: "a"}, true)
}

// TestRevokeKeepsTheRest takes keys out of a file that a person keeps in order.
func TestRevokeKeepsTheRest(t *testing.T) {
	const before, a, between, b, behind = "# keys of the team\n\n",
		"[a]\naws_access_key_id = AKIA1\n# of last year\naws_secret_access_key = s\nregion = x\n",
		"# the one below is Bob's\n\n", "[b]\naws_access_key_id = AKIA2\naws_secret_access_key = t\n",
		"\n# end, without a line feed"
	path := place(t)
	for name, want := range map[string]string{
		"a": "# keys of the team\n" + between + b + behind,
		"b": before + a + "# the one below is Bob's\n" + behind,
	} {
		write(t, path, before+a+between+b+behind)
		if _, err := accesskeys.Open(path).Revoke(name, false); err != nil {
			t.Fatal(err)
		}
		if got := read(t, path); got != want {
			t.Errorf("without %s the file is\n%q, want\n%q", name, got, want)
		}
		key := create(t, accesskeys.Open(path), "c", false)
		if got := read(t, path); !strings.HasPrefix(got, want+"\n\n[c]\n") {
			t.Errorf("a new key was added as\n%q", strings.ReplaceAll(got, key.Secret, "…"))
		}
	}
	// A profile that is called like another's id: nobody can tell which one is meant.
	write(t, path, "[AKIA2]\naws_access_key_id = AKIA1\naws_secret_access_key = s\n"+b)
	if _, err := accesskeys.Open(path).Revoke("AKIA2", true); err == nil || !strings.Contains(err.Error(), "both a profile and the id") {
		t.Errorf("an ambiguous name: %v", err)
	}
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	path := place(t)
	f := ensure(t, path)
	create(t, f, "a", false)
	mode := func() fs.FileMode {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode()
	}
	if mode() != 0o600 {
		t.Errorf("the file has the mode %v", mode())
	}
	keys, err := f.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, open := range []fs.FileMode{0o640, 0o604, 0o660, 0o666, 0o620, 0o601} {
		if err := os.Chmod(path, open); err != nil {
			t.Fatal(err)
		}
		_, _, err := f.Lookup(keys[0].ID)
		if want := fmt.Sprintf("credentials file %s is open to others (mode %04o): run chmod 600 %s", path, uint32(open), path); err == nil || err.Error() != want {
			t.Errorf("mode %v: %v, want %s", open, err, want)
		}
		if _, err := f.Create("b", false); err == nil {
			t.Errorf("mode %v: a key was made", open)
		}
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := f.Lookup(keys[0].ID); !ok || err != nil {
		t.Errorf("closed again: %t, %v", ok, err)
	}
	// What an editor that was killed left behind hinders nobody, and is not taken over with its mode.
	half := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new-0123456789ABCDEF")
	if err := os.WriteFile(half, []byte("half"), 0o666); err != nil {
		t.Fatal(err)
	}
	create(t, f, "c", false)
	if _, err := os.Stat(half); err == nil || mode() != 0o600 {
		t.Errorf("after a crash the file has the mode %v, and its half is there: %t", mode(), err == nil)
	}
}

func TestNoPlainFile(t *testing.T) {
	f := accesskeys.Open(t.TempDir())
	if _, ok, err := f.Lookup("AKIA1"); ok || err == nil {
		t.Errorf("a directory: %t, %v", ok, err)
	}
	path := place(t)
	f = ensure(t, path)
	write(t, path, "#"+strings.Repeat("x", 1<<20))
	if _, err := f.List(); err == nil {
		t.Error("a file of more than a megabyte was read")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := f.Lookup("AKIA1"); ok || err == nil {
		t.Errorf("a file that is gone: %t, %v", ok, err)
	}
}

// TestStaleFile looks a key up often enough that what the file system says is believed, and then
// revokes it: the very next lookup must miss it.
func TestStaleFile(t *testing.T) {
	path := place(t)
	f := ensure(t, path)
	for round := range 20 {
		key := create(t, f, "short", false)
		// A file of long ago, so that it is not read at each lookup.
		past := time.Now().Add(-time.Hour * time.Duration(round+1))
		if err := os.Chtimes(path, past, past); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			holds(t, f, key, true)
		}
		if _, err := accesskeys.Open(path).Revoke("short", false); err != nil {
			t.Fatal(err)
		}
		holds(t, f, key, false)
	}
}

// TestEditedTogether has many processes add and revoke keys at once; no edit is lost, and a reader
// never meets half a file.
func TestEditedTogether(t *testing.T) {
	path := place(t)
	first := ensure(t, path)
	keys, err := first.List()
	if err != nil {
		t.Fatal(err)
	}
	const writers, rounds = 8, 10
	stop := make(chan struct{})
	var reading, writing sync.WaitGroup
	for range 2 {
		reading.Go(func() {
			for {
				if _, ok, err := first.Lookup(keys[0].ID); !ok || err != nil {
					t.Errorf("a reader found %t, %v", ok, err)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for writer := range writers {
		writing.Go(func() {
			f := accesskeys.Open(path)
			for round := range rounds {
				if _, err := f.Create(fmt.Sprintf("w%d-%d", writer, round), round%2 == 0); err != nil {
					t.Error(err)
				}
				if round%3 == 0 {
					if _, err := f.Revoke(fmt.Sprintf("w%d-%d", writer, round), false); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	reading.Wait()
	left, err := first.List()
	if want := 1 + writers*(rounds-4); err != nil || len(left) != want {
		t.Errorf("%d keys are left, %v; want %d", len(left), err, want)
	}
}

func TestSecretsStayHidden(t *testing.T) {
	key := accesskeys.Key{ID: "AKIA1", Secret: "canary", Profile: "ops"}
	text, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	all := string(text)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		all += fmt.Sprintf(verb+verb+verb, key, &key, []accesskeys.Key{key})
	}
	if strings.Contains(all, "canary") || strings.Contains(all, "63616e617279") {
		t.Errorf("the secret is printed: %s", all)
	}
	if key.String() != "AKIA1 (ops)" {
		t.Errorf("String() = %s", key)
	}
}
