package lightsail

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/advice"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/periods"
)

func (a *protocol) getCallers(ctx context.Context, in *wire.GetCallersRequest) (wire.GetCallersResult, error) {
	result := wire.GetCallersResult{Callers: []wire.MetadataCaller{}, Known: []wire.Known{}}
	since := time.Time{}
	if in.Since != nil {
		since = in.Since.Time
	}
	known := a.cfg.Now().Add(-openimds.CallersKept) // who came before may be forgotten
	if since.After(known) {
		known = since
	}
	instances, next, err := a.selected(ctx, "GetCallers", in.InstanceName, in.PageToken)
	if err != nil {
		return result, err
	}
	result.NextPageToken = next
	for _, one := range instances {
		if one.Faults != nil {
			result.Faults = append(result.Faults, wire.InstanceFaults{InstanceName: one.Name, Faults: one.Faults})
		}
		if r := a.rehearsal(one); r != nil {
			result.Rehearsals = append(result.Rehearsals, wire.InstanceRehearsal{InstanceName: one.Name, Rehearsal: r})
		}
		for _, r := range a.service.RefusalsOf(one) {
			result.Refusals = append(result.Refusals, wire.InstanceRefusal{InstanceName: one.Name, Reason: r.Reason, Status: r.Status, Count: r.Count})
		}
		callers, err := a.service.CallersOf(ctx, one.Name, since)
		var k wire.Known
		if err == nil {
			k, err = a.known(ctx, one.Name, known, time.Time{})
		}
		switch {
		case gone(in.InstanceName, err):
			continue
		case err != nil:
			return result, err
		}
		result.Known = append(result.Known, k)
		boots, err := a.service.BootsOf(ctx, one)
		if err != nil {
			return result, err
		}
		result.Callers = append(result.Callers, a.showCallers(one, callers, boots, since)...)
	}
	return result, nil
}

// showCallers shows the callers of one instance, of which all that is remembered may be needed to say what there
// is to do about one.
func (a *protocol) showCallers(in *openimds.Instance, callers []openimds.Caller, boots []time.Time, since time.Time) []wire.MetadataCaller {
	for _, c := range callers {
		if advice.Parse(c.UserAgent).Boots() {
			boots = append(boots, c.Sittings...)
		}
	}
	hindered := hindrances(callers, in.Options.HopLimit, since)
	shown := make([]wire.MetadataCaller, 0, len(callers))
	for _, c := range callers {
		one := wire.MetadataCaller{
			InstanceName: in.Name, CallerKey: callerKey(c), Source: c.Source, UserAgent: c.UserAgent, PathGroup: c.PathGroup, Process: c.Process,
			Agent: agentOf(c.UserAgent), Counts: c.Counts, CountedSince: unlessZero(c.CountedSince),
			FirstSeen: awsjson.Epoch{Time: c.FirstSeen}, LastSeen: awsjson.Epoch{Time: c.LastSeen},
			FirstWithoutToken: unlessZero(c.FirstV1), LastWithoutToken: unlessZero(c.LastV1),
			LastForwarded: unlessZero(c.Forwarded), Period: periodOf(c, boots, a.cfg.Now()),
		}
		if u := c.Undelivered; u != nil {
			one.TokenUndelivered = &wire.UndeliveredToken{Time: awsjson.Epoch{Time: u.Time}, HopLimit: u.HopLimit, NeededHopLimit: u.NeededHopLimit, CurrentHopLimit: in.Options.HopLimit}
		}
		what := seen(c)
		for _, h := range hindered[who{c.Source, c.UserAgent}] {
			if advice.SameProgram(h, what) {
				what.Lost, what.Forwarded = cmp.Or(what.Lost, h.Lost), what.Forwarded || h.Forwarded
			}
		}
		if !what.WithoutToken && c.PathGroup != tokenGroup {
			what.Lost, what.Forwarded = nil, false // told where tokens are asked for, and where it came without one
		}
		one.Advice = advice.For(what)
		shown = append(shown, one)
	}
	return shown
}

// tokenGroup is the path group of requests for tokens.
const tokenGroup = "api/token"

// who is what one program is on the wire, whatever it asks for. On one host several have that in common.
type who struct{ source, userAgent string }

func seen(c openimds.Caller) advice.Seen {
	s := advice.Seen{UserAgent: c.UserAgent, WithoutToken: openimds.V1Calls(c.Counts) > 0}
	if p := c.Process; p != nil {
		s.Executable, s.Arguments = p.Executable, p.Arguments
	}
	return s
}

// hindrances finds out whose tokens do not arrive, or are refused to a proxy: all that such a program asks for
// without a token it does for want of one. What was before since, or is over, does not count.
func hindrances(callers []openimds.Caller, hopLimit int, since time.Time) map[who][]advice.Seen {
	found := map[who][]advice.Seen{}
	for _, c := range callers {
		one := seen(c)
		if u := c.Undelivered; u != nil && !u.Time.Before(since) {
			one.Lost = &advice.Lost{HopLimit: u.HopLimit, Needed: u.NeededHopLimit, Current: hopLimit}
		}
		// A later call for a token that came through no proxy has ended it.
		one.Forwarded = !c.Forwarded.IsZero() && !c.Forwarded.Before(since) && c.LastSeen.Sub(c.Forwarded) < time.Millisecond
		if one.Lost != nil || one.Forwarded {
			key := who{c.Source, c.UserAgent}
			found[key] = append(found[key], one)
		}
	}
	return found
}

func periodOf(c openimds.Caller, boots []time.Time, now time.Time) wire.CallerPeriod {
	millis := func(times []time.Time) (all []int64) {
		for _, t := range times {
			all = append(all, t.UnixMilli())
		}
		return all
	}
	p := periods.Of(millis(c.Visits), millis(c.Sittings)).Find(boots, c.LastSeen, now)
	return wire.CallerPeriod{Kind: string(p.Kind), Seconds: int(p.Every / time.Second), Text: p.String()}
}

func agentOf(userAgent string) *wire.CallerAgent {
	a := advice.Parse(userAgent)
	if a.Tool == "" {
		return nil
	}
	return &wire.CallerAgent{Tool: a.Tool, Version: a.Version, Language: a.Language, OS: a.OS}
}

// callerKey names a caller among those of its instance by what it is told apart by.
func callerKey(c openimds.Caller) string {
	text, _ := json.Marshal([]any{c.Source, c.UserAgent, c.PathGroup, c.Process}) // never fails
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
