package usage

import (
	"errors"
	"fmt"
	"strings"

	"github.com/openimds/openimds/store"
)

// maxForeign is the most bytes of a record of callers that another host has counted.
const maxForeign = 640 << 10

// CallersPrefix leads the records that each host writes of its callers; see [ForeignCallers].
const CallersPrefix = callersPrefix

// CallersKey is where a host keeps the callers of an instance.
func CallersKey(instanceID, host string) string { return callersKeys(instanceID) + host }

// ForeignCallers reads the key of a record of callers that a host has counted elsewhere, and refuses a value that no
// [Meter] has written.
func ForeignCallers(key string, value []byte) (instanceID, host string, err error) {
	instanceID, host, _ = strings.Cut(strings.TrimPrefix(key, callersPrefix), "/")
	if key != CallersKey(instanceID, host) || instanceID == "" || host == "" || strings.Contains(host, "/") {
		return "", "", fmt.Errorf("the key %.80q is none of callers", key)
	}
	if len(value) == 0 || len(value) > maxForeign {
		return "", "", errors.New("the record is empty or too large")
	}
	_, err = decodeCallers(store.Record{Key: key, Value: value})
	return instanceID, host, err
}
