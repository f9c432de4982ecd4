package wire

import (
	"github.com/openimds/openimds/api/awsjson"
)

// The operations.
var (
	CreateKeyPair = changes[CreateKeyPairRequest, CreateKeyPairResult](lightsail + "CreateKeyPair")
	DeleteKeyPair = changes[DeleteKeyPairRequest, OperationResult](lightsail + "DeleteKeyPair")
	// It makes the default pair at first use, and shows a private key: nothing for a key that only looks.
	DownloadDefaultKeyPair = changes[Nothing, DownloadDefaultKeyPairResult](lightsail + "DownloadDefaultKeyPair")
	GetKeyPair             = looks[GetKeyPairRequest, GetKeyPairResult](lightsail + "GetKeyPair")
	GetKeyPairs            = looks[GetKeyPairsRequest, GetKeyPairsResult](lightsail + "GetKeyPairs")
	ImportKeyPair          = changes[ImportKeyPairRequest, OperationResult](lightsail + "ImportKeyPair")
)

// KeyPair is how the API shows a key pair.
type KeyPair struct {
	Name         string        `json:"name"`
	ARN          string        `json:"arn"`
	SupportCode  string        `json:"supportCode"`
	CreatedAt    awsjson.Epoch `json:"createdAt"`
	Location     Location      `json:"location"`
	ResourceType string        `json:"resourceType"`
	Tags         []Tag         `json:"tags"`
	Fingerprint  string        `json:"fingerprint"`
}

// CreateKeyPairRequest makes a key pair. Its private key is in the answer, and nowhere else.
type CreateKeyPairRequest struct {
	KeyPairName string `json:"keyPairName" check:"required"`
	Tags        []Tag  `json:"tags,omitzero"`
}

// CreateKeyPairResult has both keys as they are: nothing is in base64 on the wire, whatever the names
// of the members say.
type CreateKeyPairResult struct {
	KeyPair          KeyPair   `json:"keyPair"`
	PublicKeyBase64  string    `json:"publicKeyBase64"`
	PrivateKeyBase64 string    `json:"privateKeyBase64"`
	Operation        Operation `json:"operation"`
}

// ImportKeyPairRequest takes a public key in a line of OpenSSH, or that line in base64.
type ImportKeyPairRequest struct {
	KeyPairName     string `json:"keyPairName" check:"required"`
	PublicKeyBase64 string `json:"publicKeyBase64" check:"required"`
}

// GetKeyPairRequest asks for one key pair.
type GetKeyPairRequest struct {
	KeyPairName string `json:"keyPairName" check:"required"`
}

// GetKeyPairResult has it, without its private key.
type GetKeyPairResult struct {
	KeyPair KeyPair `json:"keyPair"`
}

// GetKeyPairsRequest asks for a page of key pairs.
type GetKeyPairsRequest struct {
	PageToken             string `json:"pageToken,omitzero"`
	IncludeDefaultKeyPair bool   `json:"includeDefaultKeyPair,omitzero"`
}

// GetKeyPairsResult is that page, by name.
type GetKeyPairsResult struct {
	KeyPairs      []KeyPair `json:"keyPairs"`
	NextPageToken string    `json:"nextPageToken,omitempty"`
}

// DeleteKeyPairRequest deletes a key pair; the default one only if its fingerprint is given.
type DeleteKeyPairRequest struct {
	KeyPairName         string `json:"keyPairName" check:"required"`
	ExpectedFingerprint string `json:"expectedFingerprint,omitzero"`
}

// DownloadDefaultKeyPairResult has both keys as they are, in spite of the names: nothing is in base64.
// PrivateKeyBase64 is a secret.
type DownloadDefaultKeyPairResult struct {
	PublicKeyBase64  string        `json:"publicKeyBase64"`
	PrivateKeyBase64 string        `json:"privateKeyBase64"`
	CreatedAt        awsjson.Epoch `json:"createdAt"`
}
