package openimds

import (
	"encoding/binary"
	"fmt"
	"time"
)

// OperationStatus is how far an operation has come, by the names of the Lightsail API.
type OperationStatus string

// The states of an operation. Lightsail also knows NotStarted, which clients do not wait for, and
// Completed, which means the same to them as Succeeded; neither is used.
const (
	OperationStarted   OperationStatus = "Started"
	OperationSucceeded OperationStatus = "Succeeded"
	OperationFailed    OperationStatus = "Failed"
)

// EverywhereZone is the availability zone of operations on what belongs to a whole region.
const EverywhereZone = "all"

// Operation is the record of one change that a client asked for. It is written in the same commit
// as the change itself.
type Operation struct {
	// ID is a UUID whose first bits are the time of creation (RFC 9562, version 7), so that the keys
	// of the store are in the order of time.
	ID string `json:"id"`
	// Type is the name of the API's operation, in the singular ("CreateInstance").
	Type         string       `json:"type"`
	Resource     string       `json:"resource"`
	ResourceType ResourceType `json:"resourceType"`
	Zone         string       `json:"zone"`
	CreatedAt    time.Time    `json:"createdAt"`
	// Details names the other resource of an operation on two, the scheduled event that was made or changed, or the
	// end of a pushed key; empty otherwise.
	Details         string          `json:"details,omitempty"`
	Status          OperationStatus `json:"status"`
	StatusChangedAt time.Time       `json:"statusChangedAt"`
	ErrorDetails    string          `json:"errorDetails,omitempty"`
	// Follows is the id of the operation whose change was still waiting, to be applied or for the end of a
	// transition, when this one was added to it; what completes this one completes that one too.
	Follows string `json:"follows,omitempty"`
}

// Terminal says whether the status is the last one.
func (o Operation) Terminal() bool { return o.Status != OperationStarted }

// NewOperationID makes a UUID of version 7 (RFC 9562, section 5.7), with the fraction of the
// millisecond in the bits that may hold it (section 6.2, method 3).
func NewOperationID(now time.Time) string {
	var b [16]byte
	fill(b[8:])
	ms := now.UnixMilli()
	fraction := uint64(now.Nanosecond()%1e6) * 4096 / 1e6
	binary.BigEndian.PutUint64(b[:8], uint64(ms)<<16|7<<12|fraction)
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
