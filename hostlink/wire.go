// Package hostlink is what an agent and a replica say to each other, and the agent's end of it: the shapes of both
// directions, the [Client] by which a host tells of what it serves, and the [Copy], which keeps what the replica sends
// on disk, so that the host's guests are served from there whatever becomes of the replica.
//
// All goes over HTTP/2 and mutual TLS. A request is a POST with one JSON object and so is its answer, but for
// [PathFollow]: its answer is a stream of [Message]s, one to a line, for as long as both ends are there.
package hostlink

import (
	"encoding/json"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// Version of this wire; the paths begin with it.
const Version = 1

// The requests there are. All but PathRedeem are of a host that has a certificate; whose certificate it is says which
// host asks, and nothing in a request does.
const (
	PathRedeem    = "/v1/redeem"    // RedeemRequest → CertificateAnswer
	PathRenew     = "/v1/renew"     // RenewRequest → CertificateAnswer
	PathFollow    = "/v1/follow"    // FollowRequest → a stream of Messages
	PathJoin      = "/v1/join"      // JoinRequest → LeaseAnswer
	PathKeep      = "/v1/keep"      // LeaseRequest → Done
	PathLeave     = "/v1/leave"     // LeaseRequest → Done
	PathSeats     = "/v1/seats"     // SeatsRequest → SeatsAnswer
	PathLeaveSeat = "/v1/seat/left" // SeatRequest → Done
	PathApplied   = "/v1/applied"   // AppliedRequest → Done
	PathBound     = "/v1/bound"     // BoundRequest → OthersAnswer
	PathStatus    = "/v1/status"    // StatusRequest → OthersAnswer
	PathFaults    = "/v1/faults"    // FaultsRequest → FaultsAnswer
	PathSign      = "/v1/sign"      // SignRequest → SignAnswer
	PathCounts    = "/v1/counts"    // CountsRequest → CountsAnswer
)

// Limits of a request, which both ends keep to.
const (
	MaxBody = 1 << 20 // bytes
	// MaxItems is how many instances, statuses or bindings one request is of, MaxCounted how many records of counts, MaxSigned
	// how many are to be signed, and MaxRefused of how many refused calls are told: as many as a replica can look up one after the other while the host waits,
	// also in a store that is slow. Of more nothing would ever be kept, as the host asks the same again.
	MaxItems   = 100
	MaxCounted = 50
	MaxSigned  = 20
	MaxRefused = 20
	// MaxText is the most bytes of a text that the host has made: a reason, a mark of a link.
	MaxText = 1 << 10
	// MaxMessage is the most bytes of a line of the stream.
	MaxMessage = 16 << 20
)

// BeatEvery is how often a stream has a line at least: without one for three times as long the other end is gone.
const BeatEvery = 3 * time.Second

// Of says which part of an installation a request is about, and which process of the host asks.
type Of struct {
	Region  string `json:"region"`
	Process string `json:"process"`
}

// RedeemRequest asks for a certificate by a join token.
type RedeemRequest struct {
	Token openimds.JoinToken `json:"token"`
	// Request for a certificate (PKCS #10, DER).
	Request []byte `json:"request"`
}

// RenewRequest asks for another certificate.
type RenewRequest struct {
	Request []byte `json:"request"`
}

// CertificateAnswer has a certificate in PEM.
type CertificateAnswer struct {
	Certificate []byte `json:"certificate"`
}

// FollowRequest asks for all that the host serves, and for what changes of it.
type FollowRequest struct {
	// Program is the version of the agent.
	Program string `json:"program,omitempty"`
	// Has is what the host has of earlier streams, by the tags that it came with: it need not be told again.
	Has []Has `json:"has,omitempty"`
}

// Has is what a host has of a region.
type Has struct {
	Region    string        `json:"region"`
	Instances []HasInstance `json:"instances"`
}

// HasInstance is what a host has of an instance: the tags of its record and of its attachment, and the id of its
// recording, if it has one.
type HasInstance struct {
	Name       string `json:"name"`
	Record     string `json:"record"`
	Attachment string `json:"attachment"`
	Recording  string `json:"recording,omitempty"`
}

// Message is one line of the stream. It has one of its members, but for Through, or none and is only a sign of life.
type Message struct {
	// Hello is the first.
	Hello *Hello `json:"hello,omitempty"`
	// Changes are of one commit, or of whole instances while all there is is being told.
	Changes []Record `json:"changes,omitempty"`
	// Listed says that all there is has been told: what the copy has beside it, and beside what need not be told ([Hello]),
	// is there no more.
	Listed bool `json:"listed,omitempty"`
	// Through has, by region, the revision up to which all has been told that its store has. It comes with Listed, and once
	// the host has taken seats, whose revision it knows ([SeatsAnswer]).
	Through map[string]int64 `json:"through,omitempty"`
	// Keys tells which keys sign now; see [Hello].
	Keys string `json:"keys,omitempty"`
}

// Hello is what a stream begins with.
type Hello struct {
	Version int    `json:"version"`
	Host    string `json:"host"`
	// Home is the region whose records stand in a store itself, and Regions are all, in the replica's order.
	Home    string   `json:"home"`
	Regions []string `json:"regions"`
	// Keys tells which keys sign identity documents: what others have signed is void.
	Keys string `json:"keys"`
	Counting
	// Program is the version of the replica.
	Program string `json:"program,omitempty"`
	// From says that the stream goes on from what the host has ([FollowRequest]): of that, only what has changed is told,
	// and what is there no more.
	From bool `json:"from,omitempty"`
}

// Counting says what becomes of what hosts count.
type Counting struct {
	// Marks says that the replica takes the marks of how far hosts have told what they count.
	Marks bool `json:"marks,omitempty"`
	// Installation is what the series of all who count have in common in the engine of metrics that the replica asks: it takes
	// no samples then. Empty: it asks none.
	Installation string `json:"installation,omitempty"`
	// EngineMarks says that it takes marks then too, of how far hosts have told the engine.
	EngineMarks bool `json:"engineMarks,omitempty"`
}

// Record is one of the store, by its key within its region. Without a Value it is there no more.
type Record struct {
	Region string          `json:"region"`
	Key    string          `json:"key"`
	Value  json.RawMessage `json:"value,omitempty"`
	// Tag stands for this very Value of the record, in [FollowRequest]; it says nothing else.
	Tag string `json:"tag,omitempty"`
	// Unread says that the record is there, and that the replica cannot read it: what was known of it stays.
	Unread bool `json:"unread,omitempty"`
}

// JoinRequest says that the host is there.
type JoinRequest struct {
	Of
	TakeOver bool   `json:"takeOver"`
	Attaches bool   `json:"attaches"`
	Why      string `json:"why,omitempty"`
	// Tells says that the host tells of refused calls that somebody waits for.
	Tells   bool   `json:"tells,omitempty"`
	Program string `json:"program,omitempty"`
}

// LeaseAnswer has the lease of all that the host tells of itself.
type LeaseAnswer struct {
	Lease store.Lease `json:"lease"`
}

// LeaseRequest is about such a lease.
type LeaseRequest struct {
	Of
	Lease store.Lease `json:"lease"`
}

// Done is the answer where there is nothing to tell.
type Done struct{}

// SeatsRequest says that instances are about to be served.
type SeatsRequest struct {
	Of
	Lease     store.Lease `json:"lease"`
	Instances []string    `json:"instances"`
}

// SeatsAnswer is of seats that were taken.
type SeatsAnswer struct {
	OthersAnswer
	// Revision of the store at which they were: whoever changes an instance from then on waits for them. 0: none was.
	Revision int64 `json:"revision,omitempty"`
}

// OthersAnswer names the instances that are not this host's, of which nothing was kept.
type OthersAnswer struct {
	Others []string `json:"others,omitempty"`
}

// SeatRequest is about the seat of one instance.
type SeatRequest struct {
	Of
	Instance string `json:"instance"`
}

// AppliedRequest says that the change of that operation is obeyed.
type AppliedRequest struct {
	Of
	Instance  string `json:"instance"`
	ID        string `json:"id"`
	Operation string `json:"operation"`
}

// BoundRequest tells what attachments are bound to, and what their guests have.
type BoundRequest struct {
	Of
	Bindings []openimds.Binding `json:"bindings"`
}

// StatusRequest tells how far attachments are.
type StatusRequest struct {
	Of
	Lease    store.Lease                 `json:"lease"`
	Statuses []openimds.AttachmentStatus `json:"statuses"`
}

// FaultsRequest says that so many more requests have met the counted faults of an instance.
type FaultsRequest struct {
	Of
	Instance string    `json:"instance"`
	ID       string    `json:"id"`
	From     time.Time `json:"from"`
	More     int       `json:"more"`
}

// FaultsAnswer is how many have in all.
type FaultsAnswer struct {
	All int `json:"all"`
}

// SignRequest asks for the signatures of instances' identity documents, which the replica makes of its own records.
type SignRequest struct {
	Of
	Instances []string `json:"instances"`
}

// SignAnswer has them, of those that are the host's.
type SignAnswer struct {
	Keys   string   `json:"keys"`
	Signed []Signed `json:"signed"`
	// More says that the replica has not come to all of them: the rest is to be asked for again.
	More bool `json:"more,omitempty"`
}

// Signed are the signatures of the identity document of one instance; none where a form cannot be signed.
type Signed struct {
	ID string `json:"id"`
	// Document is the SHA-256 of what was signed.
	Document  []byte `json:"document"`
	Signature []byte `json:"signature,omitempty"`
	PKCS7     []byte `json:"pkcs7,omitempty"`
	RSA2048   []byte `json:"rsa2048,omitempty"`
}

// CountsRequest has records of what this host has counted, as they are now, and its mark, which says from which sample on
// there may be more. Late and repeated ones count once. One without a value is there no more: so a host takes its samples
// back that an engine has.
type CountsRequest struct {
	Records []Counted `json:"records,omitempty"`
	// Refused are told for the marks (records.Watched) that the stream has told of: they are kept after the records.
	Refused []Refused `json:"refused,omitempty"`
}

// Refused is what the host has refused to the guest of an instance.
type Refused struct {
	Region string `json:"region"`
	records.Refused
}

// Counted is one of them, by its key.
type Counted struct {
	Key   string `json:"key"`
	Value []byte `json:"value,omitempty"`
}

// CountsAnswer names the keys of which nothing was kept: the replica would not take them the next time either.
type CountsAnswer struct {
	Refused []string `json:"refused,omitempty"`
	// Heard says that this replica knows what to do with refused calls.
	Heard bool `json:"heard,omitempty"`
}

// ErrorAnswer is what a request without success is answered with. Code is one of the codes below.
type ErrorAnswer struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Codes of errors.
const (
	CodeNotServed = "NotServed" // it is not this host's, or not there
	CodeNoLease   = "NoLease"
	CodeInUse     = "InUse" // another process is this host
	CodeRefused   = "Refused"
	CodeEvicted   = "Evicted"
	CodeMalformed = "Malformed"
	CodeSlowDown  = "SlowDown"
	CodeAway      = "Away"
)
