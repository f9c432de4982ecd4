package store

import "context"

// Nth is the key of the nth record below a prefix, behind which are those that come after the first n; the prefix itself
// for none, and empty if there are no more than n.
func Nth(ctx context.Context, s Store, prefix string, n int) (string, error) {
	const page = 1000
	r := Range{Prefix: prefix, After: prefix, KeysOnly: true}
	for left := n; left > 0; {
		r.Limit = min(left, page)
		found, err := s.List(ctx, r)
		if err != nil {
			return "", err
		}
		if !found.More {
			return "", nil
		}
		left -= len(found.Records)
		r.After = found.Records[len(found.Records)-1].Key
	}
	return r.After, nil
}
