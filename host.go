package openimds

import (
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"strings"
	"time"
)

// MaxJoinTime is how long a join token is good at most: it opens what a whole host is sent.
const MaxJoinTime = time.Hour

// JoinToken lets one machine become a host, once. It is secret, and shown only where it is made.
type JoinToken string

// NewJoinToken makes one for the host of that name.
func NewJoinToken(host string) JoinToken {
	var b [32]byte
	fill(b[:])
	return JoinToken(host + "/" + base64.RawURLEncoding.EncodeToString(b[:]))
}

// Host is whose the token says that it is.
func (t JoinToken) Host() string {
	host, _, _ := strings.Cut(string(t), "/")
	return host
}

// Sum is what is kept of the token: who reads it cannot join by it.
func (t JoinToken) Sum() []byte {
	sum := sha256.Sum256([]byte(t))
	return sum[:]
}

// String hides the token from whoever prints it; a conversion to string is the token itself.
func (JoinToken) String() string { return redacted }

// GoString hides it from whoever asks for Go syntax.
func (JoinToken) GoString() string { return redacted }

// LogValue hides it from log/slog.
func (JoinToken) LogValue() slog.Value { return slog.StringValue(redacted) }

// InvitationVersion is the version of [Invitation] that this program writes.
const InvitationVersion = 1

// Invitation is all that a machine needs to become a host: what a join file holds, and EnrollHost answers. It is
// secret until its token is used, or late.
type Invitation struct {
	Version int       `json:"version"`
	Host    string    `json:"host"`
	Token   JoinToken `json:"token"`
	Until   time.Time `json:"until"`
	// Authority is the certificate, in PEM, by which the host knows the replicas.
	Authority string `json:"authority"`
	// Replicas are the addresses, HOST:PORT, where hosts are let in.
	Replicas []string `json:"replicas"`
}

// LogValue hides the token from log/slog, which would print all of it as JSON.
func (i Invitation) LogValue() slog.Value {
	return slog.GroupValue(slog.String("host", i.Host), slog.Time("until", i.Until))
}
