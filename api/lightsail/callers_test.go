package lightsail_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

// every makes times that far apart, of which the last is an hour before noon.
func every(apart time.Duration, n int) (times []time.Time) {
	for i := range n {
		times = append(times, noon.Add(-time.Hour-time.Duration(n-1-i)*apart))
	}
	return times
}

// Of each caller it is told what it is, how often it comes, and what there is to do.
func TestCallersAdvice(t *testing.T) {
	v1 := map[string]int64{openimds.MetricNoToken: 3}
	v2 := map[string]int64{openimds.MetricWithToken: 3}
	tokens := map[string]int64{openimds.MetricTokenRequests: 3}
	failed := map[string]int64{openimds.CountWithTokenFailed: 1}
	last := noon.Add(-time.Hour)
	daily := every(24*time.Hour, 6)
	curl := &openimds.CallerProcess{Executable: "/usr/bin/curl", Arguments: []string{"curl", "-s", "http://169.254.169.254/latest/meta-data/"}}
	asks := &openimds.CallerProcess{Executable: "/usr/bin/curl", Arguments: []string{"curl", "-X", "PUT", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60", "http://169.254.169.254/latest/api/token"}}
	withHeader := &openimds.CallerProcess{Executable: "/usr/bin/curl", Arguments: []string{"curl", "-H", "X-aws-ec2-metadata-token: ", "http://169.254.169.254/latest/meta-data/"}}
	proxy := &openimds.CallerProcess{Executable: "/usr/bin/squid", Arguments: []string{"squid"}}
	for name, c := range map[string]struct {
		callers []openimds.Caller
		want    string // the first one
	}{
		"an early SDK": {[]openimds.Caller{{Source: "10.0.0.1", UserAgent: "Boto3/1.9.42 Python/2.7.12 Linux/4.4.0", Counts: v1, LastSeen: last, Visits: daily, Sittings: daily}},
			`{"agent":{"tool":"AWS SDK for Python (Boto3)","version":"1.9.42","language":"Python 2.7.12","os":"Linux 4.4.0"},"period":{"kind":"daily","seconds":86400,"text":"daily"},
			"advice":[{"code":"Upgrade","args":{"version":"1.9.42","minimum":"1.12.6"},"source":"*"}],"process":"!","lastForwarded":"!"}`},
		"done with it": {[]openimds.Caller{{Source: "10.0.0.1", UserAgent: "curl/8", Counts: v2, LastSeen: last}}, `{"agent":{"tool":"curl"},"period":{"kind":"unknown","seconds":"!"},"advice":"!"}`},
		"nobody knows": {[]openimds.Caller{{Source: "10.0.0.1", UserAgent: "own", Counts: v1, LastSeen: last}}, `{"agent":"!","advice":[{"code":"FindProgram"}]}`},
		"its tokens are lost": {[]openimds.Caller{
			{Source: "10.0.0.1", UserAgent: "Boto3/1.34.0", PathGroup: "meta-data/iam", Counts: v1, LastSeen: last},
			{Source: "10.0.0.1", UserAgent: "Boto3/1.34.0", PathGroup: "api/token", Counts: tokens, LastSeen: last, Undelivered: &openimds.UndeliveredToken{Time: last, HopLimit: 1, NeededHopLimit: 2}},
		}, `{"pathGroup":"meta-data/iam","advice":[{"code":"RaiseHopLimit","args":{"needed":"2","current":"1"}}]}`},
		"another's tokens are lost": {[]openimds.Caller{
			{Source: "10.0.0.1", UserAgent: "Boto3/1.34.0", PathGroup: "meta-data/iam", Counts: v1, LastSeen: last},
			{Source: "10.0.0.2", UserAgent: "Boto3/1.34.0", PathGroup: "api/token", Counts: tokens, LastSeen: last, Undelivered: &openimds.UndeliveredToken{Time: last, HopLimit: 1, NeededHopLimit: 2}},
		}, `{"pathGroup":"meta-data/iam","advice":[{"code":"FindFallback"}]}`},
		"through a proxy": {[]openimds.Caller{
			{Source: "10.0.0.1", UserAgent: "curl/8", PathGroup: "meta-data", Counts: v1, LastSeen: last},
			{Source: "10.0.0.1", UserAgent: "curl/8", PathGroup: "api/token", Counts: failed, LastSeen: last, Forwarded: last},
		}, `{"pathGroup":"meta-data","advice":[{"code":"StopForwarding"},{"code":"Rewrite"}]}`}, // or it is another curl
		"another program's proxy": {[]openimds.Caller{
			{Source: "10.0.0.1", UserAgent: "curl/8", PathGroup: "meta-data", Counts: v1, LastSeen: last, Process: curl},
			{Source: "10.0.0.1", UserAgent: "curl/8", PathGroup: "api/token", Counts: failed, LastSeen: last, Forwarded: last, Process: proxy},
		}, `{"pathGroup":"meta-data","advice":[{"code":"Rewrite"}]}`},
		"the proxy itself": {[]openimds.Caller{
			{Source: "10.0.0.1", UserAgent: "curl/8", PathGroup: "meta-data", Counts: v1, LastSeen: last, Process: proxy},
			{Source: "10.0.0.1", UserAgent: "curl/8", PathGroup: "api/token", Counts: failed, LastSeen: last, Forwarded: last, Process: proxy},
		}, `{"pathGroup":"meta-data","advice":[{"code":"StopForwarding"}]}`},
		"a proxy that nobody knows": {[]openimds.Caller{
			{Source: "10.0.0.1", UserAgent: "curl/8", PathGroup: "meta-data", Counts: v1, LastSeen: last, Process: curl},
			{Source: "10.0.0.1", UserAgent: "curl/8", PathGroup: "api/token", Counts: failed, LastSeen: last, Forwarded: last},
		}, `{"pathGroup":"meta-data","advice":[{"code":"StopForwarding"},{"code":"Rewrite"}]}`},
		"a curl beside one whose tokens are lost": {[]openimds.Caller{
			{Source: "10.0.0.1", UserAgent: "curl/8", PathGroup: "meta-data", Counts: v1, LastSeen: last, Process: curl},
			{Source: "10.0.0.1", UserAgent: "curl/8", PathGroup: "api/token", Counts: tokens, LastSeen: last, Process: asks, Undelivered: &openimds.UndeliveredToken{Time: last, HopLimit: 1, NeededHopLimit: 2}},
		}, `{"pathGroup":"meta-data","advice":[{"code":"RaiseHopLimit"},{"code":"Rewrite"}]}`},
		"a curl whose token is lost": {[]openimds.Caller{
			{Source: "10.0.0.1", UserAgent: "curl/8", PathGroup: "meta-data", Counts: v1, LastSeen: last, Process: withHeader},
			{Source: "10.0.0.1", UserAgent: "curl/8", PathGroup: "api/token", Counts: tokens, LastSeen: last, Process: asks, Undelivered: &openimds.UndeliveredToken{Time: last, HopLimit: 1, NeededHopLimit: 2}},
		}, `{"pathGroup":"meta-data","advice":[{"code":"RaiseHopLimit"}]}`},
		"through a proxy before": {[]openimds.Caller{
			{Source: "10.0.0.1", UserAgent: "curl/8", PathGroup: "api/token", Counts: failed, LastSeen: last, Forwarded: last.Add(-time.Hour)},
		}, fmt.Sprintf(`{"pathGroup":"api/token","lastForwarded":%d,"advice":"!"}`, last.Add(-time.Hour).Unix())},
		"at boot": {[]openimds.Caller{
			{Source: "10.0.0.1", UserAgent: "own", Counts: v1, LastSeen: last, Sittings: every(5*time.Hour+time.Minute, 2), Visits: every(5*time.Hour+time.Minute, 2)},
			{Source: "10.0.0.1", UserAgent: "Cloud-Init/24.1", Counts: v2, LastSeen: last, Sittings: every(5*time.Hour+time.Minute, 2)},
		}, `{"userAgent":"own","period":{"kind":"boot","text":"boot"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, func(cfg *control.Config) { cfg.Callers = callerList(c.callers) })
			further := ""
			for range c.callers[1:] {
				further += ",{}"
			}
			s.steps([]step{{target: "OpenIMDS_20261122.GetCallers", body: `{}`, want: `{"callers":[` + c.want + further + `]}`}})
		})
	}
}

// A token that was lost before the time asked for is what software still goes on without one for, as long as it runs,
// unless others have arrived since then.
func TestAdviceOfEarlierLosses(t *testing.T) {
	last, before := noon.Add(-time.Hour), noon.Add(-30*24*time.Hour)
	const agent = "Boto3/1.34.0"
	lost := openimds.Caller{Source: "10.0.0.1", UserAgent: agent, PathGroup: "api/token", Counts: map[string]int64{openimds.MetricTokenRequests: 1}, LastSeen: before,
		Undelivered: &openimds.UndeliveredToken{Time: before, HopLimit: 1, NeededHopLimit: 2}}
	v1 := openimds.Caller{Source: "10.0.0.1", UserAgent: agent, PathGroup: "meta-data/iam", Counts: map[string]int64{openimds.MetricNoToken: 3}, LastSeen: last}
	v2 := openimds.Caller{Source: "10.0.0.1", UserAgent: agent, PathGroup: "meta-data", Counts: map[string]int64{openimds.MetricWithToken: 3}, LastSeen: last}
	for name, c := range map[string]struct {
		callers []openimds.Caller
		want    string
	}{
		"and none since":       {[]openimds.Caller{v1, lost}, `[{"code":"RaiseHopLimit"}]`},
		"others arrived since": {[]openimds.Caller{v1, v2, lost}, `[{"code":"FindFallback"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, func(cfg *control.Config) { cfg.Callers = callerList(c.callers) })
			shown := strings.Repeat(",{}", len(c.callers)-2)
			s.steps([]step{{target: "OpenIMDS_20261122.GetCallers", body: fmt.Sprintf(`{"since":%d}`, noon.Add(-24*time.Hour).Unix()),
				want: `{"callers":[{"pathGroup":"meta-data/iam","advice":` + c.want + `}` + shown + `]}`}})
		})
	}
}
