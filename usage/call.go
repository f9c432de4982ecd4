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
	callCount
)

// The metrics, by their place among the counts of samples and callers; records of callers have them in this
// order.
const (
	noToken = iota
	noTokenRejected
	tokenRequests
	withToken
	tokenUndelivered
	metricCount
	noMetric = -1
)

var metricNames = [metricCount]string{
	noToken:          openimds.MetricNoToken,
	noTokenRejected:  openimds.MetricNoTokenRejected,
	tokenRequests:    openimds.MetricTokenRequests,
	withToken:        openimds.MetricWithToken,
	tokenUndelivered: openimds.MetricTokenUndelivered,
}

// metric is what a call counts as. A miss is no success, so it counts as none; its caller is still seen.
func (c Call) metric() int {
	switch c {
	case NoToken:
		return noToken
	case NoTokenRejected:
		return noTokenRejected
	case TokenIssued:
		return tokenRequests
	case WithToken:
		return withToken
	}
	return noMetric
}

// hasCaller says whether a call is worth remembering its caller.
func (c Call) hasCaller() bool { return c != Other && c < Throttled }

// Version is the protocol that a call speaks: "v1", "v2", or "none" of what tells nothing of it.
func (c Call) Version() string {
	switch c {
	case TokenIssued, TokenRefused, WithToken, WithTokenRejected, WithTokenMissed:
		return "v2"
	case NoToken, NoTokenRejected, NoTokenMissed:
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
