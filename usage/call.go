package usage

import (
	"bytes"
	"slices"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
)

// Call says what a request was, as far as tokens go.
type Call uint8

// The kinds of calls. A call that was rejected did not get past its token or the lack of one; one
// that missed did, and asked for what does not exist.
const (
	// Other calls have nothing to do with tokens: OPTIONS, what cannot be understood.
	Other Call = iota
	TokenIssued
	TokenRefused
	// Forwarded calls, with a token or for one, came through a proxy, which no token does.
	Forwarded
	WithToken
	WithTokenRejected
	WithTokenMissed
	NoToken
	NoTokenRejected
	NoTokenMissed
	// Throttled calls came above the instance's rate and were not looked at.
	Throttled
	// Faulted calls were answered with a status that they met on purpose, and not looked at.
	Faulted
	outcomeCount
)

// Calls that came to nothing before their token, or their having none, decided anything: what they are is told
// by their method and headers alone. V1 calls would have needed a token and had none.
const (
	// RefusedV1 and RefusedV2 calls were refused for what has nothing to do with tokens: their Host, their form.
	RefusedV1 = outcomeCount + iota
	RefusedV2
	ThrottledV1
	ThrottledV2
	// FaultedV1 and FaultedV2 calls met a status or the end of their connection on purpose.
	FaultedV1
	FaultedV2
	// OtherV2 calls have a token that nothing depends on.
	OtherV2
)

// outcome is the call without its protocol where that decided nothing about its answer.
func (c Call) outcome() Call {
	switch c {
	case ThrottledV1, ThrottledV2:
		return Throttled
	case FaultedV1, FaultedV2:
		return Faulted
	case RefusedV1, RefusedV2, OtherV2:
		return Other
	}
	return c
}

// What is counted, by its place among the counts of callers; records of callers have them in this order, so
// that a new one is the last. Samples have the metrics among them.
const (
	noToken = iota
	noTokenRejected
	tokenRequests
	withToken
	tokenUndelivered
	noTokenFailed
	withTokenFailed
	wouldBeRefused
	countCount
	uncounted = -1
)

// isMetric says whether samples have what is counted there.
func isMetric(count int) bool { return count != noTokenFailed && count != withTokenFailed }

var countNames = [countCount]string{
	noToken:          openimds.MetricNoToken,
	noTokenRejected:  openimds.MetricNoTokenRejected,
	tokenRequests:    openimds.MetricTokenRequests,
	withToken:        openimds.MetricWithToken,
	tokenUndelivered: openimds.MetricTokenUndelivered,
	noTokenFailed:    openimds.CountNoTokenFailed,
	withTokenFailed:  openimds.CountWithTokenFailed,
	wouldBeRefused:   openimds.MetricWouldBeRefused,
}

// counts are numbers of calls by what they count as.
type counts [countCount]uint64

func (c *counts) add(d counts) {
	for i, n := range d {
		c[i] += n
	}
}

// count is what a call counts as with its caller; [uncounted] calls, which tell of no protocol or of nothing that
// failed, leave no trace there.
func (c Call) count() int {
	switch c {
	case NoToken:
		return noToken
	case NoTokenRejected:
		return noTokenRejected
	case TokenIssued:
		return tokenRequests
	case WithToken:
		return withToken
	case NoTokenMissed, RefusedV1, ThrottledV1, FaultedV1:
		return noTokenFailed
	case TokenRefused, Forwarded, WithTokenRejected, WithTokenMissed, RefusedV2, ThrottledV2, FaultedV2:
		return withTokenFailed
	}
	return uncounted
}

// isV1 says whether calls without a token are counted there.
func isV1(count int) bool {
	return count == noToken || count == noTokenRejected || count == noTokenFailed
}

// Version is the protocol that a call speaks: "v1", "v2", or "none" of what tells nothing of it.
func (c Call) Version() string {
	switch c {
	case TokenIssued, TokenRefused, Forwarded, WithToken, WithTokenRejected, WithTokenMissed, RefusedV2, ThrottledV2, FaultedV2, OtherV2:
		return "v2"
	case NoToken, NoTokenRejected, NoTokenMissed, RefusedV1, ThrottledV1, FaultedV1:
		return "v1"
	}
	return "none"
}

// group is a part of the table of categories, by its place in groupNames. The groups are few and
// fixed, so that a crawl of the whole tree makes few callers.
type group uint8

const (
	groupOther group = iota
	groupToken
)

var groupNames = append([]string{groupOther: "other", groupToken: "api/token"},
	slices.DeleteFunc(metadata.Groups(), func(group string) bool { return slices.Contains(ungrouped, group) })...)

// ungrouped are parts of the table with one item that is nobody's secret: they are of the group above them.
var ungrouped = []string{"dynamic/fws", "meta-data/hibernation", "meta-data/metrics"}

var groups = func() map[string]group {
	m := make(map[string]group, len(groupNames))
	for g, name := range groupNames {
		m[name] = group(g)
	}
	return m
}()

// GroupOf is the part of the table of categories that a path of the form "latest/meta-data/iam/info" is counted
// as; "other" has all that is nowhere in it.
func GroupOf(path string) string { return groupNames[groupOf([]byte(path))] }

// groupOf finds the group of a path of the form "latest/meta-data/iam/info".
func groupOf(path []byte) group {
	version := bytes.IndexByte(path, '/')
	if version < 0 {
		return groupOther
	}
	path = path[version+1:]
	first := bytes.IndexByte(path, '/')
	if first < 0 {
		return groups[string(path)]
	}
	two := path
	if second := bytes.IndexByte(path[first+1:], '/'); second >= 0 {
		two = path[:first+1+second]
	}
	if g, ok := groups[string(two)]; ok {
		return g
	}
	return groups[string(path[:first])]
}
