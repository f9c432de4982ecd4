package openimds

import (
	"time"
)

// CredentialSet names one of the sets of temporary credentials that an instance may have.
type CredentialSet uint8

// The sets of an instance. AWS delivers a role twice, marked with the version of the request, so
// that an IAM policy can tell the two apart (condition key ec2:RoleDelivery).
const (
	// RoleForV1 is the role's set for requests without a session token.
	RoleForV1 CredentialSet = iota
	// RoleForV2 is the role's set for requests with a valid session token.
	RoleForV2
	// InstanceIdentity is the instance's own set, below identity-credentials/ec2; it needs no role.
	InstanceIdentity
)

// Codes of [RoleCredentials].
const (
	// CredentialsSuccess says that the set holds credentials. Any other code is a failure.
	CredentialsSuccess = "Success"
	// CredentialsUnauthorized says that the service may not assume the role.
	CredentialsUnauthorized = "AssumeRoleUnauthorizedAccess"
	// CredentialsNoProfile says that the instance profile no longer exists; iam/info says so too.
	CredentialsNoProfile = "InstanceProfileNotFound"
)

// RoleCredentials is one set of temporary credentials, or the notice that there are none: then Code
// is not [CredentialsSuccess], and only Code, Message and LastUpdated mean anything.
//
// Both secrets hide themselves from fmt, log/slog and JSON; who needs their bytes asks for each.
type RoleCredentials struct {
	Code string `json:"code"`
	// Message says to the guest's operator what failed; empty on success.
	Message string `json:"message,omitempty"`
	Type    string `json:"type,omitempty"` // "AWS-HMAC"
	// AccountID is the account that the keys are of; empty: not known.
	AccountID       string `json:"accountId,omitempty"`
	AccessKeyID     string `json:"accessKeyId,omitempty"`
	SecretAccessKey Secret `json:"-"`
	Token           Secret `json:"-"`
	// LastUpdated is when the set was made, or when the attempt failed.
	LastUpdated time.Time `json:"lastUpdated"`
	Expiration  time.Time `json:"expiration,omitzero"`
}

// CredentialSource knows the credentials of instances. The guest's request waits for it, so it
// answers at once and from memory; whatever fetches credentials does so beforehand, elsewhere.
//
// A source that has nothing to give (not yet, or no more) returns a failure, as AWS does: the guest
// reads the reason in place of the keys. Implementations must be safe for use by many goroutines.
type CredentialSource interface {
	// Credentials returns the set of the instance as it stands at now. Role sets are asked for only
	// when the instance has a role.
	Credentials(in *Instance, set CredentialSet, now time.Time) RoleCredentials
}
