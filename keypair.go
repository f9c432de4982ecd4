package openimds

import (
	"time"
)

// DefaultKeyPairName is the key pair of instances that were created without one. It is made at
// first use, and listed only on request.
const DefaultKeyPairName = "LightsailDefaultKeyPair"

// KeyPair is a public key that new instances can be given.
type KeyPair struct {
	Name      string    `json:"name"`
	UUID      string    `json:"uuid"`
	CreatedAt time.Time `json:"createdAt"`
	// PublicKey is a line for authorized_keys: algorithm, key, and the pair's name.
	PublicKey   string `json:"publicKey"`
	Fingerprint string `json:"fingerprint"`
	Tags        []Tag  `json:"tags,omitempty"`
	// PrivateKey, in PEM, is kept of the default pair only, whose owner may ask for it at any time.
	PrivateKey Secret `json:"privateKey,omitempty"`
}
