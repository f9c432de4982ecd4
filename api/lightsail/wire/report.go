package wire

import (
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
)

// The operations. To have a report signed changes nothing here, but a key that only looks shall not get the
// installation's signature.
var (
	SignReport        = changes[SignReportRequest, SignReportResult](openIMDS + "SignReport")
	GetReportKey      = looks[Nothing, GetReportKeyResult](openIMDS + "GetReportKey")
	GetOptionsHistory = looks[GetOptionsHistoryRequest, GetOptionsHistoryResult](openIMDS + "GetOptionsHistory")
)

// SignReportRequest has the digest of a report.
type SignReportRequest struct {
	// SHA256 is in 64 small hexadecimal digits.
	SHA256 string `json:"sha256" check:"required"`
}

// SignReportResult is the signature.
type SignReportResult struct {
	Signature openimds.ReportSignature `json:"signature"`
}

// GetReportKeyResult is the key by which reports are verified.
type GetReportKeyResult struct {
	PublicKey awsjson.Blob `json:"publicKey"` // Ed25519, 32 bytes
}

// GetOptionsHistoryRequest asks for the changes of an instance's options.
type GetOptionsHistoryRequest struct {
	InstanceName string `json:"instanceName" check:"required"`
}

// GetOptionsHistoryResult has the changes since the instance was made, the earliest first.
type GetOptionsHistoryResult struct {
	Changes []OptionsChange `json:"changes"`
	// KnownSince is when the log begins that they are from; absent: there is none. Changes before are not known.
	KnownSince *awsjson.Epoch `json:"knownSince,omitempty"`
}

// OptionsChange is one change of an instance's options or of its rehearsal.
type OptionsChange struct {
	Time      awsjson.Epoch `json:"time"`
	Who       string        `json:"who"`
	Operation string        `json:"operation"`
	// Before and After are the options, where they were changed. The first has no Before.
	Before *MetadataOptions `json:"before,omitempty"`
	After  *MetadataOptions `json:"after,omitempty"`
	// Rehearsal is what it is since, where it was changed.
	Rehearsal *openimds.Rehearsal `json:"rehearsal,omitempty"`
}
