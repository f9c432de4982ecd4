package ec2

import (
	"context"
	"strings"

	"github.com/openimds/openimds"
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
	asks []ask
}

// ask is one filter.
type ask struct {
	name   string
	values []pattern
}

// pattern is a value of a filter.
type pattern struct {
	text  string
	runes []rune // nil: it stands for itself
	least int    // how many characters what matches has
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
	read := filters[T]{of: of}
	for _, f := range asked {
		one := ask{name: f.Name}
		for _, value := range f.Values {
			one.values = append(one.values, readPattern(value))
		}
		read.asks = append(read.asks, one)
	}
	return read, nil
}

func readPattern(text string) pattern {
	p := pattern{text: text}
	if !strings.ContainsAny(text, `*?\`) {
		return p
	}
	p.runes = []rune(text)
	for i := 0; i < len(p.runes); i++ {
		if p.runes[i] == '*' {
			continue
		}
		if p.runes[i] == '\\' {
			i++
		}
		p.least++
	}
	return p
}

// match says whether all filters match. An error says that there is no more time: filters of many patterns over many tags
// may take long.
func (f filters[T]) match(ctx context.Context, one T) (bool, error) {
	if err := ctx.Err(); len(f.asks) > 0 && err != nil {
		return false, openimds.Errorf(openimds.Unavailable, openimds.StoreAway, "The filters of the request take too long; ask with fewer").Because(err)
	}
	for _, ask := range f.asks {
		has, _ := f.of(one, ask.name)
		if !anyMatches(ask.values, has) {
			return false, nil
		}
	}
	return true, nil
}

func anyMatches(patterns []pattern, has []string) bool {
	for _, pattern := range patterns {
		for _, value := range has {
			if pattern.matches(value) {
				return true
			}
		}
	}
	return false
}

// matches says whether a value is what a pattern says: * is any text, ? any character, and a backslash takes the
// meaning from what follows.
func (pat pattern) matches(value string) bool {
	if pat.runes == nil {
		return pat.text == value
	}
	if pat.least > len(value) {
		return false
	}
	p, v := pat.runes, []rune(value)
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
