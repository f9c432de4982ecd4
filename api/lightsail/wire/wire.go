// Package wire has the shapes of Amazon Lightsail's API and of the operations that Lightsail does not
// have: what is asked, what is answered, and which of both belong to an operation. Server, client and
// command line share these types, so that none of them can be changed alone.
//
// The names of members, and what a type demands of its values, are those of AWS's model (botocore
// 1.43.11, lightsail 2016-11-28); the server's tests compare them. A member that is optional in a
// request is not sent while it is zero; where zero means something, it is a pointer.
package wire

// Target is an operation as a request names it, with the types of request and answer.
type Target[Q, R any] struct {
	// Name is the value of X-Amz-Target.
	Name string
	// Changes says that the operation may change something: keys that only look may not ask for it,
	// and nobody may send it twice unasked.
	Changes bool
}

// The prefixes of targets: Lightsail's operations, and those that Lightsail does not have.
const (
	lightsail = "Lightsail_20161128."
	openIMDS  = "OpenIMDS_20261122."
)

func looks[Q, R any](name string) Target[Q, R] { return Target[Q, R]{Name: name} }

func changes[Q, R any](name string) Target[Q, R] { return Target[Q, R]{Name: name, Changes: true} }

// Nothing is the request of what needs no words.
type Nothing struct{}
