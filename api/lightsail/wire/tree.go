package wire

import (
	"github.com/openimds/openimds/api/awsjson"
)

// The operations. With reveal, GetMetadataTree shows secrets: keys that only look may not ask for that.
var GetMetadataTree = looks[GetMetadataTreeRequest, GetMetadataTreeResult](openIMDS + "GetMetadataTree")

// GetMetadataTreeRequest asks what the guest of an instance would be answered at a path: for all that it lists, or for the
// value that is there.
type GetMetadataTreeRequest struct {
	InstanceName string `json:"instanceName" check:"required"`
	// Version is one of those that the service lists, or latest, which it is unless it is said.
	Version string `json:"version,omitzero"`
	// Path is below the version ("meta-data/iam"); empty: the version's own listing.
	Path string `json:"path,omitzero"`
	// Protocol is v1 or v2, by which the guest asks; v2.
	Protocol IMDSVersion `json:"protocol,omitzero"`
	// Reveal shows secrets: user data and credentials.
	Reveal bool `json:"reveal,omitzero"`
}

// GetMetadataTreeResult is the answer to it.
type GetMetadataTreeResult struct {
	// Status is that of the guest's answer: 200, 401 where it needs a token, 403 where its endpoint is disabled, 404; 0:
	// nobody would answer, as the instance does not run. There are entries with 200 only.
	Status  int                `json:"status"`
	Version string             `json:"version"`
	Path    string             `json:"path"`
	Entries []MetadataTreeNode `json:"entries"`
	// Versions are those that the guest is listed, the latest last; only with an empty Path.
	Versions []string `json:"versions,omitempty"`
}

// MetadataTreeNode is one path of the tree.
type MetadataTreeNode struct {
	Path string `json:"path"`
	// Kind is directory, value, secret, or absent: listed, but not there.
	Kind string `json:"kind"`
	// Value is what the guest reads; where that is not UTF-8, ValueBase64 is it. Both are absent of directories, and of
	// secrets that are not revealed.
	Value       *string      `json:"value,omitempty"`
	ValueBase64 awsjson.Blob `json:"valueBase64,omitempty"`
	// Doc says what the value means, where the table of categories has it.
	Doc string `json:"doc,omitempty"`
}

// IMDSVersion is a version of the metadata service's protocol.
type IMDSVersion string

// Values is [awsjson.Enumerated].
func (IMDSVersion) Values() []string { return []string{"v1", "v2"} }
