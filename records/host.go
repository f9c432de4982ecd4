package records

import (
	"strings"
	"time"

	"github.com/openimds/openimds/store"
)

// Keys of what hosts tell of themselves. All of these records but those of KnownPrefix and ServedPrefix are bound to the lease of
// their host's process, and vanish with it.
const (
	// HostPrefix leads the hosts that are there; their keys go on with their names.
	HostPrefix = "host/"
	// KnownPrefix leads the hosts that have been there, which are bound to no lease; its keys go on with their names.
	KnownPrefix = "known-host/"
	// SeatPrefix leads the seats: which host serves which instance.
	SeatPrefix = "seat/"
	// StatusPrefix leads the keys of how far attachments are; they go on with the instance's name.
	StatusPrefix = "attachment-status/"
	// OfficeKey is held by the host that does what one of all has to do: it evaluates alarms, forgets old
	// operations, ends transitions, and ends changes that nobody has to obey.
	OfficeKey = "office"
	// CountingPrefix leads by which names hosts count; see [CountingKey].
	CountingPrefix = "counting/"
	// ServedPrefix leads when hosts had instances that they have no more; see [ServedKey].
	ServedPrefix = "served/"
	// ToldPrefix leads what is known of an alarm's latest notice, for those who could send it too; bound to a lease of its own.
	ToldPrefix = "told/"
)

// Keys of what the installation knows of hosts, whether they are there or not: they are the same in every region.
const (
	// JoinTokenPrefix leads what is kept of join tokens; its keys go on with the hosts' names.
	JoinTokenPrefix = "join-token/"
	// EnrolledPrefix leads the hosts that may have certificates; its keys go on with their names.
	EnrolledPrefix = "enrolled/"
	// DrainedPrefix leads the hosts that take no new attachments; its keys go on with their names.
	DrainedPrefix = "drained/"
	// EndedPrefix leads the enrolments that were ended on purpose; see [EndedKey].
	EndedPrefix = "ended/"
	// HostAuthorityKey is the key, with its certificate, that signs those of hosts: in PEM, as it is.
	HostAuthorityKey = "host-authority"
	// HostTagsKey is the key (32 random bytes) by which replicas make the tags of records that hosts have. It is of one
	// store, whose revisions the tags stand for: a copy of the store has another.
	HostTagsKey = "host-tags"
)

// SharedPrefixes lead the keys that are the same in every region: a host is there once for all of them.
func SharedPrefixes() []string {
	return []string{PlacePrefix, JoinTokenPrefix, EnrolledPrefix, DrainedPrefix, EndedPrefix}
}

// JoinToken is what is kept of a join token, until it is used.
type JoinToken struct {
	Sum   []byte    `json:"sum"`
	Until time.Time `json:"until"`
}

// Enrolled is what is kept of a host that has joined.
type Enrolled struct {
	// ID is in each certificate of the host that is good. It is another one each time that a machine joins under the
	// name: what an earlier one has opens nothing any more.
	ID       string    `json:"id"`
	JoinedAt time.Time `json:"joinedAt"`
	// CertificateEnds is when the latest certificate does.
	CertificateEnds time.Time `json:"certificateEnds"`
	// Redeemed is by what the machine has joined; nil: it is not known.
	Redeemed *Redeemed `json:"redeemed,omitempty"`
}

// Redeemed is a join token that was used, and the SHA-256 of the public key (PKIX, DER) that was certified by it: whoever
// comes again with both has not had the answer.
type Redeemed struct {
	JoinToken
	Key []byte `json:"key"`
}

// End is the change by which it stands that the enrolment was ended on purpose.
func (e Enrolled) End(host string) (store.Change, error) {
	value, err := Encode(e.CertificateEnds)
	return store.Change{Verb: store.Put, Key: EndedKey(host, e.ID), Value: value, If: store.Whatever}, err
}

// Drained is what is kept of a host that takes no new attachments.
type Drained struct {
	Since time.Time `json:"since"`
}

// DrainedKey is where it is kept that a host takes no new attachments.
func DrainedKey(host string) string { return DrainedPrefix + host }

// JoinTokenKey is where the join token of a host has its record.
func JoinTokenKey(host string) string { return JoinTokenPrefix + host }

// EnrolledKey is where it is kept that a host has joined.
func EnrolledKey(host string) string { return EnrolledPrefix + host }

// EndedKey is where it stands that an enrolment of a host was ended on purpose, with the time (JSON) when the last of its
// certificates ends. An enrolment that is neither kept nor ended is one of which the store does not know, as of one that
// was put back to an earlier state: it opens nothing, and says nothing of what the host has to do.
func EndedKey(host, enrolment string) string { return EndedPrefix + host + "/" + enrolment }

// Host is what a host's record says.
type Host struct {
	// Attaches says whether it carries attachments out.
	Attaches bool `json:"attaches,omitempty"`
	// Why it does not, for people.
	Why string `json:"why,omitempty"`
	// Tells says that it tells of refused calls that somebody waits for; see [Refused].
	Tells bool `json:"tells,omitempty"`
	// Since is when it came, and Version that of its program.
	Since   time.Time `json:"since,omitzero"`
	Version string    `json:"version,omitempty"`
}

// Known is what stays of a host once it is not there any more.
type Known struct {
	Version string `json:"version,omitempty"`
	// Left is when it was noticed that it is not there; zero: it is, or nobody has looked.
	Left time.Time `json:"left,omitzero"`
	// Evicted says that it was evicted while it was there, and has not come since.
	Evicted bool `json:"evicted,omitempty"`
}

// KnownKey is where it is kept that a host was there.
func KnownKey(name string) string { return KnownPrefix + name }

// Seat is an instance's place on a host, from before the first answer to after the last.
type Seat struct {
	// Obeys is the operation of the last change of options that the host was waited for with, and obeys.
	Obeys string `json:"obeys,omitempty"`
	// Process is the id of the host's process that took it, by which a later one of the same host is told apart.
	Process string `json:"process,omitempty"`
}

// HostKey is where a host has its record.
func HostKey(name string) string { return HostPrefix + name }

// ToldKey is where an alarm's latest notice has its record.
func ToldKey(alarm string) string { return ToldPrefix + alarm }

// StatusKey is where a host keeps how far the attachment of an instance is.
func StatusKey(instance string) string { return StatusPrefix + instance }

// Stay is a time in which a host had an instance.
type Stay struct {
	// From is when it got it; zero: that is not known.
	From time.Time `json:"from,omitzero"`
	// Until is when it was taken away from it.
	Until time.Time `json:"until"`
	// Open says that the host has neither said since that it has let go of it nor come anew: it may go on answering for it.
	Open bool `json:"open,omitempty"`
}

// Served are the times in which a host had an instance, the earliest first.
type Served struct {
	Stays []Stay `json:"stays"`
}

// Close ends the stays that are open at a moment that is after their ends, and says whether there were any.
func (s *Served) Close(at time.Time) (closed bool) {
	for i := range s.Stays {
		if stay := &s.Stays[i]; stay.Open && at.After(stay.Until) {
			stay.Until, stay.Open, closed = at, false, true
		}
	}
	return closed
}

// DecodeServed reads when a host had an instance. Earlier releases kept nothing but the end of the last time.
func DecodeServed(r store.Record) (Served, error) {
	if left, err := Decode[time.Time](r); err == nil {
		return Served{Stays: []Stay{{Until: left, Open: true}}}, nil
	}
	return Decode[Served](r)
}

// ServedKey is where it stands when a host had the instance of that id, up to when it was taken away from it, as a
// [Served]: what it counted then comes late, and is to be known all the same.
func ServedKey(instanceID, host string) string { return ServedPrefix + instanceID + "/" + host }

// ServingHost is the name of the host in a ServedKey.
func ServingHost(key string) string {
	_, host, _ := strings.Cut(strings.TrimPrefix(key, ServedPrefix), "/")
	return host
}

// Counting is a name by which a host counts: it has another one when it has lost what it counted, so that what it counts
// anew is added to that and does not take its place.
type Counting struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
}

// CountingKey is where the names stand by which a host counts, or has counted of late, as a list of [Counting].
func CountingKey(host string) string { return CountingPrefix + host }

// SeatKey is where the seat of an instance on a host has its record; without a host's name it leads those of
// the instance on all hosts.
func SeatKey(instance, host string) string { return SeatPrefix + instance + "/" + host }

// SeatingHost is the name of the host in a seat's key.
func SeatingHost(key string) string {
	_, host, _ := strings.Cut(strings.TrimPrefix(key, SeatPrefix), "/")
	return host
}

// SeatedInstance is the name of the instance in a seat's key.
func SeatedInstance(key string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(key, SeatPrefix), "/")
	return name
}
