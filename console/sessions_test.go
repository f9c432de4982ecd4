package console_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/sigv4"
)

// TestSessionsEnd: after an hour without a request, after twelve in any case, and neither a restart nor another server's file
// gives them more.
func TestSessionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := open(t, 1)
		idle, used := f.page().signIn(keyID, secret), f.page().signIn(keyID, secret)
		for range 23 { // half hours
			time.Sleep(30 * time.Minute)
			if !used.works() {
				t.Fatal("a session that is used has ended")
			}
		}
		if idle.works() {
			t.Error("an idle session is still there")
		}
		f.restart()
		if !used.works() {
			t.Error("a session has ended with the process")
		}
		time.Sleep(30*time.Minute + time.Second)
		if used.works() {
			t.Error("a session lasts longer than twelve hours")
		}
		f.restart()
		if used.works() || idle.works() {
			t.Error("a restart brings sessions back")
		}
		f.stop()
	})
}

// TestSessionsAreTheirKeys: a session ends with its key, with another secret under the same id too, and has its rights.
func TestSessionsAreTheirKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := open(t, 1)
		p := f.page().signIn(keyID, secret)
		f.keys.set(accesskeys.Key{ID: keyID, Secret: secret, Profile: "default", ReadOnly: true})
		if !p.works() {
			t.Error("a session has ended with some of its key's rights")
		}
		f.keys.set(accesskeys.Key{ID: keyID, Secret: "another", Profile: "default"})
		if p.works() {
			t.Error("a session is of another key of the same id")
		}
		f.keys.set(accesskeys.Key{ID: keyID, Secret: secret, Profile: "default"})
		if p.works() {
			t.Error("a session that has ended is there again")
		}
		f.stop()
	})
}

// TestSessionsAreBounded: of one key the least lately used goes for one more; another key's stay.
func TestSessionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := open(t, 1)
		const otherID, otherSecret = "AKIAI234567890ABCDEG", "the-secret-of-the-second-key"
		f.keys.set(accesskeys.Key{ID: otherID, Secret: otherSecret, Profile: "other"})
		other := f.page().signIn(otherID, otherSecret)
		first, second := f.page().signIn(keyID, secret), f.page().signIn(keyID, secret)
		for range 62 {
			time.Sleep(time.Second)
			f.page().signIn(keyID, secret)
		}
		time.Sleep(time.Second)
		if !first.works() || !second.works() { // and now both were used
			t.Fatal("64 sessions are too many")
		}
		for range 62 {
			time.Sleep(time.Second)
			f.page().signIn(keyID, secret)
		}
		if !first.works() {
			t.Error("a session that was used lately goes first")
		}
		for range 64 {
			time.Sleep(time.Second)
			f.page().signIn(keyID, secret)
		}
		if first.works() || second.works() {
			t.Error("there are more than 64 sessions")
		}
		if !other.works() {
			t.Error("one key's sessions end another's")
		}
		f.stop()
	})
}

// TestLinks: a link lasts a minute, and of one key sixteen wait at most.
func TestLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := open(t, 1)
		link := func() string {
			token, until, err := f.sessions.Link(context.Background(), sigv4.Identity{KeyID: keyID})
			if err != nil || time.Until(until) != time.Minute {
				t.Fatalf("a link until %v: %v", until, err)
			}
			return token
		}
		follow := func(token string) int { return f.page().ask("POST", "session", fmt.Sprintf(`{"link":%q}`, token)) }
		early, late := link(), link()
		time.Sleep(59 * time.Second)
		if status := follow(early); status != http.StatusOK {
			t.Errorf("a link of 59 s is answered %d", status)
		}
		time.Sleep(2 * time.Second)
		for range 2 {
			if status := follow(late); status != http.StatusUnauthorized {
				t.Errorf("a link of 61 s is answered %d", status)
			}
		}
		oldest := link()
		for range 15 {
			time.Sleep(time.Second)
			link()
		}
		last := link()
		if follow(oldest) != http.StatusUnauthorized || follow(last) != http.StatusOK {
			t.Error("of seventeen links another one goes than the oldest")
		}
		gone := link()
		f.keys.mu.Lock()
		delete(f.keys.all, keyID)
		f.keys.mu.Unlock()
		if status := follow(gone); status != http.StatusUnauthorized {
			t.Errorf("a link of a key that is gone is answered %d", status)
		}
		f.stop()
	})
}

// TestSessionsFile: a file that is damaged, or cannot be written, costs sessions and nothing else.
func TestSessionsFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := open(t, 1)
		p := f.page().signIn(keyID, secret)
		for _, damaged := range []string{"", "{", `[{"id":"00"}]`, `[{"id":"zz","key":"x","proof":"1","begun":"2000-01-01T00:00:00Z"}]`, `[{"begun":1}]`} {
			f.stop()
			if err := os.WriteFile(f.file, []byte(damaged), 0o600); err != nil {
				t.Fatal(err)
			}
			f.start(1)
			if p.works() {
				t.Fatalf("%q: the session is there", damaged)
			}
			p.signIn(keyID, secret)
		}
		// Where nothing can be written, what is there is taken away: a session that was ended must not come back.
		if err := os.Remove(f.file); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(f.file, 0o700); err != nil {
			t.Fatal(err)
		}
		if status := p.ask("DELETE", "session", ""); status != http.StatusNoContent || p.works() {
			t.Errorf("the sign-out is answered %d", status)
		}
		p.signIn(keyID, secret)
		if !p.works() {
			t.Error("nobody can sign in where the file cannot be written")
		}
		f.stop()
	})
}
