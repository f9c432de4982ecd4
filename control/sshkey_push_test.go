package control_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
)

// keySigner notes what it signed.
type keySigner struct {
	signed  []openimds.PushedKey
	prepare func() // nil: it is prepared
}

func (k *keySigner) Prepare(time.Time) error {
	if k.prepare != nil {
		k.prepare()
	}
	return nil
}

func (k *keySigner) Sign(p openimds.PushedKey) (string, error) {
	k.signed = append(k.signed, p)
	return fmt.Sprintf("%s until %d\n\n", p.Key, p.Until.Unix()), nil
}

const pushedKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHWgsd+4qVBKGNwhDEHWMHaBaRNtTtvTRvHsr0gEVFAK me@here"

// TestPushedKeys: a key is the user's for a minute, is signed for this instance, and ended ones make room.
func TestPushedKeys(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 500, time.UTC)
	signer := &keySigner{}
	f := newFixture(t, func(cfg *control.Config, _ *store.Store) {
		cfg.KeySigner, cfg.Now = signer, func() time.Time { return now }
	})
	if _, err := f.CreateInstances(t.Context(), launch("web-0")); err != nil {
		t.Fatal(err)
	}
	push := func(user, key string) error {
		_, err := f.SendSSHPublicKey(t.Context(), "web-0", user, key, "me")
		return err
	}
	in := func() *openimds.Instance {
		in, err := f.Instance(t.Context(), "web-0")
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	if err := push("ubuntu", pushedKey); err != nil {
		t.Fatal(err)
	}
	until := now.Add(time.Minute).Truncate(time.Second)
	if keys := in().ManagedKeys; len(keys) != 1 || keys[0].User != "ubuntu" || !keys[0].Until.Equal(until) {
		t.Fatalf("there are %+v", keys)
	}
	p := signer.signed[0]
	if p.InstanceID != in().ID || !p.Until.Equal(until) || !strings.HasPrefix(p.Key, "ssh-ed25519 AAAAC3") || strings.Contains(p.Key, "here") ||
		p.Caller != "arn:aws:iam::123456789012:user/me" || p.Request == "" {
		t.Errorf("signed is %+v", p)
	}
	for range 9 {
		if err := push("ubuntu", pushedKey); err != nil {
			t.Fatal(err)
		}
	}
	if err := push("ubuntu", pushedKey); openimds.KindOf(err) != openimds.InvalidInput || !strings.Contains(err.Error(), "at most 10") {
		t.Errorf("the eleventh: %v", err)
	}
	for i := range 40 {
		if err := push(fmt.Sprintf("user%d", i), pushedKey); err != nil {
			t.Fatal(err)
		}
	}
	if err := push("root", pushedKey); !strings.Contains(fmt.Sprint(err), "and 50 are there at once") {
		t.Errorf("the fifty-first: %v", err)
	}
	now = now.Add(time.Minute)
	if err := push("ubuntu", pushedKey); err != nil || len(in().ManagedKeys) != 1 {
		t.Errorf("a minute later there are %d, %v", len(in().ManagedKeys), err)
	}
	now = now.Add(-26 * time.Hour) // the clock is turned back
	if key := in().ManagedKeys[0]; key.Active(now) || !key.Active(now.Add(26*time.Hour)) {
		t.Errorf("the key of a clock that was ahead: %+v", key)
	}
	if err := push("ubuntu", pushedKey); err != nil || len(in().ManagedKeys) != 1 || !in().ManagedKeys[0].Active(now) {
		t.Errorf("then there are %+v, %v", in().ManagedKeys, err)
	}
	for _, refused := range [][2]string{
		{"", pushedKey}, {"../x", pushedKey}, {"a b", pushedKey}, {"a/b", pushedKey}, {strings.Repeat("a", 33), pushedKey}, {"ubuntu", ""},
		{"ubuntu", "ssh-ed25519 AAAA"}, {"ubuntu", pushedKey + "\n" + pushedKey}, {"ubuntu", "command=\"x\" " + pushedKey},
	} {
		if err := push(refused[0], refused[1]); openimds.KindOf(err) != openimds.InvalidInput {
			t.Errorf("%q: %v", refused, err)
		}
	}
	if _, err := f.StopInstance(t.Context(), "web-0"); err != nil {
		t.Fatal(err)
	}
	if err := push("ubuntu", pushedKey); openimds.KindOf(err) != openimds.OperationFailure {
		t.Errorf("of a stopped instance: %v", err)
	}
	if _, err := newFixture(t, nil).SendSSHPublicKey(t.Context(), "web-0", "ubuntu", pushedKey, ""); openimds.KindOf(err) != openimds.OperationFailure {
		t.Errorf("where nobody signs: %v", err)
	}
}

// TestPushBeforeTheSignerIsReady: keys that take too long to make are no store that is away, and nothing is pushed.
func TestPushBeforeTheSignerIsReady(t *testing.T) {
	signer := &keySigner{}
	f := newFixture(t, func(cfg *control.Config, _ *store.Store) { cfg.KeySigner = signer })
	f.create("web-0")
	ctx, end := context.WithCancel(t.Context())
	signer.prepare = end
	_, err := f.SendSSHPublicKey(ctx, "web-0", "ubuntu", pushedKey, "")
	refused(t, err, openimds.Unavailable, openimds.Unready, "The key is not made yet, since the machine is busy; try again")
	signer.prepare = nil
	if _, err := f.SendSSHPublicKey(t.Context(), "web-0", "ubuntu", pushedKey, ""); err != nil || len(signer.signed) != 1 {
		t.Errorf("tried again: %d are signed, %v", len(signer.signed), err)
	}
}
