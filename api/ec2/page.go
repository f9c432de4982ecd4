package ec2

import (
	"slices"

	"github.com/openimds/openimds/api"
)

// The sizes of pages (EC2 API reference, DescribeInstances).
const (
	minResults = 5
	maxResults = 1000
	// mostResults is how many items an answer has that nobody bounds; AWS names no number.
	mostResults = 10000
)

// page is which part of a list is asked for.
type page struct {
	list  string
	after string // empty: from the beginning
	size  int
}

// list is [api.List] of the request's region.
func (c *call) list(action string, question ...any) string {
	return api.List(action, c.service.Region(), question...)
}

// readPage reads the part of a list that is asked for.
func readPage(list string, results *int, token string) (page, error) {
	p := page{list: list, size: mostResults}
	if results != nil {
		p.size = *results
		if p.size < minResults || p.size > maxResults {
			return p, invalid("InvalidParameterValue", "Value (%d) for parameter MaxResults is invalid. Expecting a value between %d and %d.", p.size, minResults, maxResults)
		}
	}
	after, err := api.PagePlace(list, token)
	if err != nil {
		return p, invalid("InvalidNextToken", "The token '%.100s' is invalid", token)
	}
	p.after = after
	return p, nil
}

// next is the token of the page behind that place; empty at the end.
func (p page) next(place string) string { return api.PageToken(p.list, place) }

// cut takes the page out of a list that is all there.
func cut[T any](p page, all []T, id func(T) string) ([]T, string) {
	if p.after != "" {
		all = all[1+slices.IndexFunc(all, func(item T) bool { return id(item) == p.after }):]
	}
	if len(all) <= p.size {
		return all, ""
	}
	return all[:p.size], p.next(id(all[p.size-1]))
}
