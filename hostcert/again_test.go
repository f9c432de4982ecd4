package hostcert_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/records"
)

var errLost = errors.New("the answer was lost")

// TestJoinAnswerLost: a machine that has joined, and has not heard so, asks again with its key and is let in, by another
// process and at another replica too; nobody else is by the same token, and nobody after the token's time.
func TestJoinAnswerLost(t *testing.T) {
	f := newFixture(t)
	a, b := f.replica(), f.replica()
	dir, elsewhere := t.TempDir(), t.TempDir()
	i := f.invite(a, "host-1")
	var answers [][]byte
	lost := func(ctx context.Context, token openimds.JoinToken, request []byte) ([]byte, error) {
		issued, err := a.Redeem(ctx, token, request)
		if err != nil {
			t.Error(err)
		}
		answers = append(answers, issued.Certificate)
		return nil, errLost
	}
	for range 2 {
		if _, err := hostcert.Join(t.Context(), dir, i, lost); !errors.Is(err, errLost) {
			t.Fatal(err)
		}
	}
	enrolment := func() string {
		t.Helper()
		r, err := f.store.Get(t.Context(), records.EnrolledKey("host-1"))
		if err != nil {
			t.Fatal(err)
		}
		e, err := records.Decode[records.Enrolled](r)
		if err != nil {
			t.Fatal(err)
		}
		return e.ID
	}
	first := enrolment()
	_, err := hostcert.Join(t.Context(), elsewhere, i, carry(b))
	refused(t, err, "host-1", "was used")
	id, err := hostcert.Join(t.Context(), dir, i, carry(b))
	if err != nil {
		t.Fatal(err)
	}
	if now := enrolment(); now != first {
		t.Error("the machine has joined anew: what it was before is void")
	}
	for _, replica := range []*hostcert.Authority{a, b} {
		if h, err := f.hostOf(replica, id.ClientTLS()); err != nil || h.Name != "host-1" {
			t.Errorf("%+v, %v", h, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, hostcert.JoiningFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the key of the join stays: %v", err)
	}
	if len(answers) != 2 {
		t.Errorf("%d answers were lost", len(answers))
	}
}

// TestNotAgain: what ends a join token or its enrolment ends that the machine may ask again.
func TestNotAgain(t *testing.T) {
	for name, c := range map[string]struct {
		before func(f *fixture, a *hostcert.Authority)
		why    string
	}{
		"late":         {func(f *fixture, _ *hostcert.Authority) { f.step(time.Hour) }, "late"},
		"evicted":      {func(f *fixture, _ *hostcert.Authority) { f.evict("host-1") }, "was used"},
		"invited anew": {func(f *fixture, a *hostcert.Authority) { f.invite(a, "host-1") }, "not the latest"},
		"joined anew":  {func(f *fixture, a *hostcert.Authority) { f.join(a, "host-1") }, "was used"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			a := f.replica()
			dir, i := t.TempDir(), f.invite(a, "host-1")
			_, err := hostcert.Join(t.Context(), dir, i, func(ctx context.Context, token openimds.JoinToken, request []byte) ([]byte, error) {
				if _, err := a.Redeem(ctx, token, request); err != nil {
					t.Error(err)
				}
				return nil, errLost
			})
			if !errors.Is(err, errLost) {
				t.Fatal(err)
			}
			c.before(f, a)
			_, err = hostcert.Join(t.Context(), dir, i, carry(a))
			refused(t, err, "host-1", c.why)
		})
	}
}

// TestJoiningFile: a damaged file of a join that has no answer, or another token's, keeps nobody from joining.
func TestJoiningFile(t *testing.T) {
	f := newFixture(t)
	a := f.replica()
	for _, text := range []string{"", "{", `{"by":"","key":""}`, `{"by":"AAAA","key":"AAAA"}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, hostcert.JoiningFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := hostcert.Join(t.Context(), dir, f.invite(a, "host-1"), carry(a)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}
