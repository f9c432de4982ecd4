package imdstest

import (
	"cmp"
	"errors"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/credentials/generated"
)

// Credentials are what the instance's role gives to the program, or the reason why it gives none.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	// Expires; left out, six hours from when they are set.
	Expires time.Time

	// Code says, in place of the keys, why there are none, such as "AssumeRoleUnauthorizedAccess", and
	// Message says it to people.
	Code    string
	Message string
}

func (c Credentials) check() error {
	switch {
	case c.Code != "" && c.Code != openimds.CredentialsSuccess:
		if c.AccessKeyID != "" || c.SecretAccessKey != "" || c.SessionToken != "" {
			return errors.New("Credentials have keys, and a Code that says why there are none")
		}
	case c.Message != "":
		return errors.New("Credentials have a Message, which goes with a Code")
	case c.AccessKeyID == "" || c.SecretAccessKey == "" || c.SessionToken == "":
		return errors.New("Credentials need all of AccessKeyID, SecretAccessKey and SessionToken")
	}
	return nil
}

// roleCredentials serves what was set, and generated credentials while nothing was.
type roleCredentials struct {
	generated.Source
	now atomic.Pointer[openimds.RoleCredentials]
}

// set changes what the role of the instance has. The zero value is: generated ones.
func (r *roleCredentials) set(c Credentials, in *openimds.Instance) error {
	if c == (Credentials{}) {
		r.now.Store(nil)
		return nil
	}
	if in.Role == nil {
		return errors.New("an instance without a role has no Credentials: set Instance.RoleName")
	}
	if err := c.check(); err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	role := &openimds.RoleCredentials{
		Code: cmp.Or(c.Code, openimds.CredentialsSuccess), Message: c.Message, LastUpdated: now,
	}
	if role.Code == openimds.CredentialsSuccess {
		role.Type, role.AccountID = "AWS-HMAC", in.OwnerID
		role.AccessKeyID = c.AccessKeyID
		role.SecretAccessKey, role.Token = openimds.Secret(c.SecretAccessKey), openimds.Secret(c.SessionToken)
		role.Expiration = now.Add(6 * time.Hour)
		if !c.Expires.IsZero() {
			role.Expiration = c.Expires.UTC().Truncate(time.Second)
		}
	}
	r.now.Store(role)
	return nil
}

// Credentials implements [openimds.CredentialSource].
func (r *roleCredentials) Credentials(in *openimds.Instance, set openimds.CredentialSet, now time.Time) openimds.RoleCredentials {
	if role := r.now.Load(); role != nil && set != openimds.InstanceIdentity {
		return *role
	}
	return r.Source.Credentials(in, set, now)
}

// Keep and Drop have nothing to make ready.
func (*roleCredentials) Keep(*openimds.Instance) {}
func (*roleCredentials) Drop(string)             {}
