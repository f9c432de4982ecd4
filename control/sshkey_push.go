package control

import (
	"context"
	"regexp"
	"slices"
	"time"

	"github.com/openimds/openimds"
)

// KeySigner signs SSH keys that are pushed, so that guests take them.
type KeySigner interface {
	// Prepare makes what it signs with, if that is not there yet. It may wait for the disk.
	Prepare(now time.Time) error
	// Sign makes the lines that guests are served of a key.
	Sign(key openimds.PushedKey) (lines string, err error)
}

// The most pushed keys at once of a user of an instance, and of the instance.
const (
	maxPushedOfUser = 10
	maxPushed       = 50
)

// osUserForm is that of names of users of an operating system (EC2 Instance Connect API, SendSSHPublicKey).
var osUserForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9@._-]{0,30}[A-Za-z0-9$_-]?$`)

// SendSSHPublicKey has an instance's guest find a public SSH key for a user of its operating system, for [openimds.PushedKeyTime]. The
// details of the operation are the key's end. By is the name of who asks, for the log of the guest; empty: nobody says.
//
// Errors: InvalidInput/Malformed for a key that no SSH server would take, or the name of a user that cannot be;
// InvalidInput/TooMany where the user or the instance has that many already; InvalidInput/TooLarge where the instance's
// record has no room; NotFound/DoesNotExist; OperationFailure/WrongState for an instance that does not run;
// OperationFailure/NotEnforced where nothing can be signed here, or the guest is answered a recording; Unavailable/Unready
// where the keys that sign take too long to make.
func (s *Service) SendSSHPublicKey(ctx context.Context, name, user, publicKey, by string) (openimds.Operation, error) {
	if !osUserForm.MatchString(user) {
		return openimds.Operation{}, openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "%.60q cannot be the name of a user of the operating system: it is up to 32 letters, digits and @._-", user)
	}
	key, err := parsePublicKey(publicKey)
	if err != nil {
		return openimds.Operation{}, err
	}
	if s.cfg.KeySigner == nil {
		return openimds.Operation{}, openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "This server signs no SSH keys")
	}
	if err := s.cfg.KeySigner.Prepare(s.cfg.Now()); err != nil {
		return openimds.Operation{}, broken(err)
	}
	if ctx.Err() != nil { // the first keys take long; they are there for the next one
		return openimds.Operation{}, unready(ctx)
	}
	d, err := s.commit(ctx, "SendSSHPublicKey", func(d *draft) error {
		in, was, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		if err := s.pushKey(d, in, user, openimds.PushedKey{InstanceID: in.ID, Key: keyLine(key, user), Caller: s.userARN(by)}); err != nil {
			return err
		}
		d.putInstance(was, in)
		op := instanceOperation("SendSSHPublicKey", in)
		op.Details = in.ManagedKeys[len(in.ManagedKeys)-1].Until.Format(time.RFC3339)
		d.operation(op)
		return nil
	})
	if err != nil {
		return openimds.Operation{}, err
	}
	return d.operations[0], nil
}

// pushKey adds a key to an instance's, and drops those that have ended.
func (s *Service) pushKey(d *draft, in *openimds.Instance, user string, key openimds.PushedKey) error {
	switch {
	case in.State != openimds.StateRunning:
		return openimds.Errorf(openimds.OperationFailure, openimds.WrongState, "The instance %s is %s: only the guest of a running one finds a key", in.Name, in.State)
	case in.Recorded != nil:
		return openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "The guest of %s is answered a recording, which shows no pushed keys", in.Name)
	}
	in.ManagedKeys = slices.DeleteFunc(slices.Clone(in.ManagedKeys), func(k openimds.ManagedKey) bool { return !k.Active(d.now) })
	ofUser := 0
	for _, k := range in.ManagedKeys {
		if k.User == user {
			ofUser++
		}
	}
	if ofUser >= maxPushedOfUser || len(in.ManagedKeys) >= maxPushed {
		return openimds.Errorf(openimds.InvalidInput, openimds.TooMany, "The user %s of %s has %d keys now, and the instance %d: at most %d and %d are there at once; the first ends within a minute",
			user, in.Name, ofUser, len(in.ManagedKeys), maxPushedOfUser, maxPushed)
	}
	key.Until, key.Request = d.now.Add(openimds.PushedKeyTime).Truncate(time.Second), openimds.NewUUID()
	lines, err := s.cfg.KeySigner.Sign(key)
	if err != nil {
		return broken(err)
	}
	in.ManagedKeys = append(in.ManagedKeys, openimds.ManagedKey{User: user, Lines: lines, Until: key.Until})
	return nil
}

// userARN is who asks, as the log of a guest shows it; empty: nobody says.
func (s *Service) userARN(who string) string {
	if !osUserForm.MatchString(who) {
		return ""
	}
	return "arn:aws:iam::" + s.cfg.AccountID + ":user/" + who
}
