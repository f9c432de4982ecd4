package ec2

import (
	"strings"

	"github.com/openimds/openimds/api/ec2/wire"
)

// Limits of the filters of one request (EC2 API reference, Filter).
const (
	maxFilters      = 50
	maxFilterValues = 200
)

// attributes tells, by a filter's name, what a thing has of it: one of these has to match. The second result says
// whether there is such a filter; of nothing it says the same.
type attributes[T any] func(of T, filter string) (has []string, known bool)

// filters are a request's, in a form in which they can be held against many things.
type filters[T any] struct {
	of   attributes[T]
	asks []wire.Filter
}

// readFilters checks a request's filters.
func readFilters[T any](asked []wire.Filter, of attributes[T]) (filters[T], error) {
	values := 0
	var none T
	for _, f := range asked {
		if _, known := of(none, f.Name); !known {
			return filters[T]{}, invalid("InvalidParameterValue", "The filter '%.100s' is invalid", f.Name)
		}
		values += len(f.Values)
	}
	if len(asked) > maxFilters || values > maxFilterValues {
		return filters[T]{}, invalid("FilterLimitExceeded", "A request has at most %d filters with %d values altogether", maxFilters, maxFilterValues)
	}
	return filters[T]{of, asked}, nil
}

// match says whether all filters match.
func (f filters[T]) match(one T) bool {
	for _, ask := range f.asks {
		has, _ := f.of(one, ask.Name)
		if !anyMatches(ask.Values, has) {
			return false
		}
	}
	return true
}

func anyMatches(patterns, has []string) bool {
	for _, pattern := range patterns {
		for _, value := range has {
			if matches(pattern, value) {
				return true
			}
		}
	}
	return false
}

// matches says whether a value is what a pattern says: * is any text, ? any character, and a backslash takes the
// meaning from what follows.
func matches(pattern, value string) bool {
	if !strings.ContainsAny(pattern, `*?\`) {
		return pattern == value
	}
	p, v := []rune(pattern), []rune(value)
	star, from := -1, 0 // where the last * stands, and where what it stands for ends as yet
	i, j := 0, 0
	for j < len(v) {
		switch {
		case i < len(p) && p[i] == '*':
			star, from = i, j
			i++
			continue
		case i < len(p) && p[i] == '\\' && i+1 < len(p) && p[i+1] == v[j]:
			i, j = i+2, j+1
			continue
		case i < len(p) && p[i] != '\\' && (p[i] == '?' || p[i] == v[j]), i == len(p)-1 && p[i] == '\\' && v[j] == '\\':
			i, j = i+1, j+1
			continue
		case star < 0:
			return false
		}
		from++
		i, j = star+1, from
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}
