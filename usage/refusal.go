package usage

import "github.com/openimds/openimds"

// Refusal is why a guest did not get what it came for, where that is not what it asked for by itself: a path that
// there is not is no refusal, nor what it meets on purpose.
type Refusal uint8

// The refusals. The first ones have an answer, the rest are connections that are closed without one.
const (
	NotRefused Refusal = iota
	// RefusedMalformed: what came is no request of HTTP that two readers understand alike.
	RefusedMalformed
	RefusedPath
	RefusedTTL
	RefusedNoToken
	RefusedBadToken
	RefusedHost
	RefusedEndpoint
	RefusedForwarded
	RefusedOrigin
	RefusedPut
	RefusedMethod
	RefusedExpect
	RefusedTooLarge
	RefusedInternal
	RefusedEncoding
	RefusedRate
	RefusedVersion

	// ClosedNotRunning: no instance is served at the place, or it does not run.
	ClosedNotRunning
	ClosedIPv6
	ClosedConnections
	ClosedWaiting
	ClosedSlow
	// ClosedIncomplete: the guest ended the connection within the head of its request.
	ClosedIncomplete
	ClosedCaller
	ClosedLink
	ClosedHopLimit

	refusalCount
)

// refusals are how they are named, and the status that the guest gets; 0: none.
var refusals = [refusalCount]struct {
	name   string
	status int
}{
	NotRefused:       {"", 0},
	RefusedMalformed: {"malformed", 400},
	RefusedPath:      {"path", 400},
	RefusedTTL:       {"ttl", 400},
	RefusedNoToken:   {"no-token", 401},
	RefusedBadToken:  {"bad-token", 401},
	RefusedHost:      {"host", 403},
	RefusedEndpoint:  {"endpoint-disabled", 403},
	RefusedForwarded: {"forwarded", 403},
	RefusedOrigin:    {"origin", 403},
	RefusedPut:       {"put-path", 403},
	RefusedMethod:    {"method", 405},
	RefusedExpect:    {"expect", 417},
	RefusedTooLarge:  {"too-large", 431},
	RefusedInternal:  {"internal", 500},
	RefusedEncoding:  {"encoding", 501},
	RefusedRate:      {"rate", 503},
	RefusedVersion:   {"http-version", 505},

	ClosedNotRunning:  {"not-running", 0},
	ClosedIPv6:        {"ipv6-disabled", 0},
	ClosedConnections: {"connections", 0},
	ClosedWaiting:     {"waiting", 0},
	ClosedSlow:        {"slow", 0},
	ClosedIncomplete:  {"incomplete", 0},
	ClosedCaller:      {"caller", 0},
	ClosedLink:        {"link", 0},
	ClosedHopLimit:    {"hop-limit", 0},
}

// String is the refusal's name in metrics and the API.
func (r Refusal) String() string { return refusals[r].name }

// Status is what the guest is answered with; 0: its connection is closed without an answer.
func (r Refusal) Status() int { return refusals[r].status }

// Refuse counts a refusal. Answers are counted as such too ([Tally.Answered]).
func (g *Tally) Refuse(why Refusal) {
	if g != nil {
		g.answers.refusals[why].Add(1)
	}
}

// Refuse counts a refusal where no instance is to be seen.
func (r *Meter) Refuse(why Refusal) {
	if r != nil {
		r.departed.refusals[why].Add(1)
	}
}

// RefusalTotal is how often something was refused, since the process started.
type RefusalTotal struct {
	Refusal Refusal
	Count   uint64
}

// refusalTotals are all refusals that there are, in their order.
func (a *answers) refusalTotals() []RefusalTotal {
	all := make([]RefusalTotal, 0, refusalCount-1)
	for why := NotRefused + 1; why < refusalCount; why++ {
		all = append(all, RefusalTotal{why, a.refusals[why].Load()})
	}
	return all
}

// RefusedCalls implements [openimds.RefusalCounter].
func (r *Meter) RefusedCalls(instanceID string) (calls openimds.RefusedCalls, known bool) {
	g := r.guest(instanceID)
	if g == nil {
		return calls, false
	}
	calls = openimds.RefusedCalls{Counter: g.counter, NoToken: int64(g.answers.of(NoTokenRejected))}
	for _, t := range g.answers.refusalTotals() {
		if t.Count > 0 {
			calls.Refusals = append(calls.Refusals, openimds.Refusal{Reason: t.Refusal.String(), Status: t.Refusal.Status(), Count: int64(t.Count)})
		}
	}
	return calls, true
}
