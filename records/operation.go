package records

import (
	"strings"
	"time"

	"github.com/openimds/openimds"
)

// OperationKey is where the operation of that id has its record: the later an operation was made, the
// earlier its key, so that a range begins with the latest.
func OperationKey(id string) string { return OperationPrefix + invert(id) }

// OperationOfKey is where an operation stands in the index of those on a resource, in the same order.
func OperationOfKey(resource, id string) string {
	return OperationOfPrefix + resource + "/" + invert(id)
}

// OperationsBefore is the key behind which are the operations that were made before t.
func OperationsBefore(t time.Time) string {
	id := openimds.NewOperationID(t)
	const ofTime = len("01234567-89ab-7def-")
	return OperationKey(id[:ofTime] + "0000-000000000000")
}

// invert turns the order of ids around: each hexadecimal digit becomes the one that is as far from the
// other end. What is no digit of an id stays, so that it is the key of none.
func invert(id string) string {
	const digits, turned = "0123456789abcdef", "fedcba9876543210"
	return strings.Map(func(r rune) rune {
		if i := strings.IndexRune(digits, r); i >= 0 {
			return rune(turned[i])
		}
		return r
	}, id)
}
