package lightsail_test

import (
	"fmt"
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
		}, `{"pathGroup":"meta-data","advice":[{"code":"StopForwarding"}]}`},
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
		}, `{"pathGroup":"meta-data","advice":[{"code":"StopForwarding"}]}`},
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
