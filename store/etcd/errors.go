package etcd

import (
	"context"
	"errors"
	"strings"

	"github.com/openimds/openimds/store"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// kinds are the failures of etcd that the contract has words for.
var kinds = map[error]error{
	rpctypes.ErrLeaseNotFound:   store.ErrNoLease,
	rpctypes.ErrNoSpace:         store.ErrFull,
	rpctypes.ErrCompacted:       store.ErrCompacted,
	rpctypes.ErrRequestTooLarge: store.ErrTooLarge,
	rpctypes.ErrTooManyOps:      store.ErrTooLarge,
}

// kindOf is the contract's word for a failure; nil: it has none.
func kindOf(err error) error {
	for theirs, ours := range kinds {
		if errors.Is(err, theirs) || described(err) == described(theirs) {
			return ours
		}
	}
	return nil
}

// silent says that a failure is no answer of the cluster: another member, or the same one later, may have one.
func silent(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	switch codeOf(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted:
		return true
	case codes.ResourceExhausted:
		return described(err) == described(rpctypes.ErrTooManyRequests)
	}
	return false
}

func codeOf(err error) codes.Code {
	if known, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return known.Code()
	}
	return status.Code(err)
}

func described(err error) string {
	if known, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return known.Error()
	}
	if s, ok := status.FromError(err); ok {
		return s.Message()
	}
	return err.Error()
}

// told is a failure's own text, on one line and without the names of its protocol.
func told(err error) string {
	text := described(err)
	for _, lead := range []string{"etcdserver: ", "mvcc: "} {
		text = strings.TrimPrefix(text, lead)
	}
	return strings.Join(strings.Fields(text), " ")
}
