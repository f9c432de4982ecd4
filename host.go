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

// FleetHost is what is known of a host.
type FleetHost struct {
	Name string
	// There says whether it is there, since Since; otherwise Left is when it was noticed that it is not. Both are zero
	// where that is not known.
	There bool
	Since time.Time
	Left  time.Time
	// Version is that of the program that it runs, or ran last; empty: not known.
	Version string
	// Attaches says whether it carries attachments out, and Why why not; of one that is there.
	Attaches bool
	Why      string
	// Drained is since when it takes no new attachments; zero: it takes them.
	Drained time.Time
	// JoinedAt is when it joined by an invitation, and CertificateEnds when its latest certificate does; zero: it has
	// none, as a server that has the store itself.
	JoinedAt, CertificateEnds time.Time
	// InvitedUntil is until when a machine may join as this host; zero: none may.
	InvitedUntil time.Time
	// Attachments and Seats are how many instances are attached there, and how many it serves.
	Attachments, Seats int
}

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
