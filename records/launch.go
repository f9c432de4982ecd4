package records

import "time"

// Launch is a launch that its client may ask for again by the same token, and what came of it.
type Launch struct {
	// Sum tells one request from another one with the same token.
	Sum []byte `json:"sum"`
	// IDs are those of the instances.
	IDs []string  `json:"ids"`
	At  time.Time `json:"at"`
}
