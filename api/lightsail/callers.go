package lightsail

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
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
	instances, next, err := a.selected(ctx, a.list("GetCallers", in.InstanceName, in.Since.OrZero()), in.InstanceName, in.PageToken)
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
		if err := a.addRefusals(ctx, &result, one.Name, in); err != nil {
			return result, err
		}
		callers, err := a.service.CallersOf(ctx, one.Name, since)
		all := callers
		if err == nil && !since.IsZero() {
			all, err = a.service.CallersOf(ctx, one.Name, time.Time{})
		}
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
		result.Callers = append(result.Callers, a.showCallers(one, callers, all, boots, since)...)
	}
	return result, nil
}

// addRefusals adds what was refused to an instance's guest, and that it is not known.
func (a *protocol) addRefusals(ctx context.Context, result *wire.GetCallersResult, name string, in *wire.GetCallersRequest) error {
	ask := in.Refusals && in.InstanceName != ""
	refused, err := a.service.RefusalsOf(ctx, name, ask)
	if gone(in.InstanceName, err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, r := range refused.Refusals {
		result.Refusals = append(result.Refusals, wire.InstanceRefusal{InstanceName: name, Reason: r.Reason, Status: r.Status, Count: r.Count})
	}
	if refused.Awaited && !ask {
		refused.Unknown = "its hosts were not asked"
	}
	if refused.NoToken == nil && len(refused.Hosts) > 0 {
		result.RefusalsUnknown = append(result.RefusalsUnknown, wire.UnknownRefusals{InstanceName: name, Reason: refused.Unknown})
	}
	return nil
}

// showCallers shows the callers of one instance in a time. All that is remembered is needed to say what there is to do
// about one: software whose token was lost goes on without one for as long as it runs.
func (a *protocol) showCallers(in *openimds.Instance, callers, all []openimds.Caller, boots []time.Time, since time.Time) []wire.MetadataCaller {
	for _, c := range callers {
		if advice.Parse(c.UserAgent).Boots() {
			boots = append(boots, c.Sittings...)
		}
	}
	todo := advised(all, callers, in.Options.HopLimit, since)
	shown := make([]wire.MetadataCaller, 0, len(callers))
	for i, c := range callers {
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
		one.Advice = todo[i]
		shown = append(shown, one)
	}
	return shown
}

// advised says what there is to do about each of the callers of one instance in a time, of which all that are
// remembered may tell.
func advised(all, callers []openimds.Caller, hopLimit int, since time.Time) [][]advice.Advice {
	hindered := hindrances(all, callers, hopLimit, since)
	todo := make([][]advice.Advice, 0, len(callers))
	for _, c := range callers {
		what := seen(c)
		for _, h := range hindered[who{c.Source, c.UserAgent}] {
			h.hinders(&what, c)
		}
		todo = append(todo, advice.For(what))
	}
	return todo
}

// who is what one program is on the wire, whatever it asks for. On one host several have that in common.
type who struct{ source, userAgent string }

func seen(c openimds.Caller) advice.Seen {
	s := advice.Seen{UserAgent: c.UserAgent, WithoutToken: openimds.V1Calls(c.Counts) > 0}
	if p := c.Process; p != nil {
		s.Executable, s.Arguments, s.Place = p.Executable, p.Arguments, strings.Join([]string{p.User, p.Unit, p.Container}, "\x00")
	}
	return s
}

// hindrance is a caller whose tokens do not arrive, or are refused to a proxy: all that such a program asks for
// without a token it does for want of one.
type hindrance struct {
	of   openimds.Caller
	seen advice.Seen
}

// hindrances finds them among all that are remembered. What is over does not count: a token that was lost before since,
// where others arrived since then, or a later call for one that came through no proxy.
func hindrances(all, callers []openimds.Caller, hopLimit int, since time.Time) map[who][]hindrance {
	reached := map[who][]advice.Seen{}
	for _, c := range callers {
		if c.Counts[openimds.MetricWithToken] > 0 {
			key := who{c.Source, c.UserAgent}
			reached[key] = append(reached[key], seen(c))
		}
	}
	found := map[who][]hindrance{}
	for _, c := range all {
		one, key := hindrance{c, seen(c)}, who{c.Source, c.UserAgent}
		arrived := func(other advice.Seen) bool { return advice.Alike(one.seen, other) == advice.Same }
		if u := c.Undelivered; u != nil && (!u.Time.Before(since) || !slices.ContainsFunc(reached[key], arrived)) {
			one.seen.Lost = &advice.Lost{HopLimit: u.HopLimit, Needed: u.NeededHopLimit, Current: hopLimit}
		}
		one.seen.Forwarded = !c.Forwarded.IsZero() && c.LastSeen.Sub(c.Forwarded) < time.Millisecond
		if one.seen.Lost != nil || one.seen.Forwarded {
			found[key] = append(found[key], one)
		}
	}
	return found
}

// hinders notes with another caller what it comes without a token for, if it is the same program. Where it came with
// one or without is told where tokens are asked for.
func (h hindrance) hinders(what *advice.Seen, c openimds.Caller) {
	like := advice.Alike(h.seen, *what)
	switch {
	case h.of.PathGroup == c.PathGroup && reflect.DeepEqual(h.of.Process, c.Process):
		like = advice.Same
	case !what.WithoutToken:
		return
	}
	if like == advice.Different || like == advice.Perhaps && !what.Unsure && (what.Lost != nil || what.Forwarded) {
		return // or it is known what it is
	}
	if like == advice.Same && what.Unsure {
		what.Lost, what.Forwarded = nil, false
	}
	what.Unsure = like == advice.Perhaps
	what.Lost, what.Forwarded = cmp.Or(what.Lost, h.seen.Lost), what.Forwarded || h.seen.Forwarded
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
