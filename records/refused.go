package records

import (
	"strings"
	"time"

	"github.com/openimds/openimds"
)

// Keys of refused calls that somebody waits for. No refusal is a record by itself: of an instance that nobody waits for
// there is none, and all of these are bound to the lease of whoever waits, and vanish with it.
const (
	// WatchedPrefix leads the marks of the instances whose refused calls somebody waits for; its keys go on with their names.
	WatchedPrefix = "watched/"
	// RefusedPrefix leads what hosts have told of them; see [RefusedKey].
	RefusedPrefix = "refused/"
)

// Watched marks an instance whose refused calls somebody waits for.
type Watched struct {
	// ID is the mark's: what a host has told for an earlier one says nothing of what came between.
	ID string `json:"id"`
	// InstanceID is that of the instance.
	InstanceID string `json:"instanceId"`
}

// Refused is what a host has told of the refused calls of an instance.
type Refused struct {
	Instance   string `json:"instance"`
	InstanceID string `json:"instanceId"`
	// Watch is the id of the mark for which it was told.
	Watch string `json:"watch"`
	// Process is the id of the host's process that counts, as its seat has it.
	Process string `json:"process"`
	// At is when it was read, by the host's clock.
	At time.Time `json:"at"`
	openimds.RefusedCalls
}

// WatchedKey is where the mark of an instance stands.
func WatchedKey(instance string) string { return WatchedPrefix + instance }

// RefusedKey is where it stands what a host has told of an instance's refused calls, as a [Refused]; without a host's name
// it leads what all hosts have.
func RefusedKey(instance, host string) string { return RefusedPrefix + instance + "/" + host }

// RefusingHost is the name of the host in a RefusedKey.
func RefusingHost(key string) string {
	_, host, _ := strings.Cut(strings.TrimPrefix(key, RefusedPrefix), "/")
	return host
}
