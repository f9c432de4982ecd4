package client

import (
	"context"
	"errors"
	"iter"

	"github.com/openimds/openimds/api/lightsail/wire"
)

var errSamePage = errors.New("the list does not end: its next page is the one that was just shown")

// Pages asks for a list page by page, from its beginning. It ends with the list or with the first error: what
// was shown before an error is not all there is.
func Pages[Q wire.Paged[Q], R wire.Page](ctx context.Context, c *Client, target wire.Target[Q, R], in Q) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		for token := ""; ; {
			page, err := Call(ctx, c, target, in.From(token))
			if !yield(page, err) || err != nil || page.Next() == "" {
				return
			}
			if page.Next() == token {
				var none R
				yield(none, errSamePage)
				return
			}
			token = page.Next()
		}
	}
}
