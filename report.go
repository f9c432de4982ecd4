package openimds

import (
	"context"
	"errors"
	"time"
)

// ReportSignature is what a [ReportSigner] has signed.
type ReportSignature struct {
	// Statement is the text that is signed: lines that say which report, of which installation, asked for by
	// whom and when.
	Statement string `json:"statement"`
	// PublicKey and Signature are Ed25519's (RFC 8032), of 32 and 64 bytes.
	PublicKey []byte `json:"publicKey"`
	Signature []byte `json:"signature"`
}

// ReportStatement is what the signature of a report says.
type ReportStatement struct {
	// Digest is SHA-256 of the report, as hexadecimal digits.
	Digest string
	// Installation is its region and account, By who asked for the signature.
	Installation, By string
	At               time.Time
}

// ReportSigner signs the reports of an installation, and nothing else, with a key made for that.
type ReportSigner interface {
	SignReport(s ReportStatement) (ReportSignature, error)
	// ReportKey is the public key, of 32 bytes.
	ReportKey() []byte
}

// ErrNoPlace means that a place in a log is not one that was given out.
var ErrNoPlace = errors.New("there is no such place in the log")

// ChangeLog reads what the audit was told.
type ChangeLog interface {
	// Changes returns the entries of a resource ("Instance/demo"), the earliest first, without those that did
	// not happen, and since when it has all of them: what came before is not known.
	Changes(ctx context.Context, resource string) (entries []AuditEntry, since time.Time, err error)
	// Entries returns a page of all entries, those of refusals and of what did not happen too. It waits for nobody who
	// writes. A place that is none of its own is [ErrNoPlace].
	Entries(ctx context.Context, q AuditQuery) (AuditPage, error)
}

// OptionsChange is one change of an instance's options or of its rehearsal.
type OptionsChange struct {
	Time time.Time
	// Who made it, and by which operation.
	Who, What string
	// Before and After are the options; nil: the change did not touch them.
	Before, After *MetadataOptions
	// Rehearsal is what it is since; nil: the change did not touch it.
	Rehearsal *Rehearsal
}
