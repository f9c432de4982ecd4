package report

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/advice"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/attest"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/migrate"
)

// OpenIMDS tells what an openimds server knows of its instances, and signs.
type OpenIMDS struct{ API *client.Client }

var _ Source = OpenIMDS{}

// Installation is the server, with the key that signs for it.
func (o OpenIMDS) Installation(ctx context.Context) (*Installation, error) {
	service, err := client.Call(ctx, o.API, wire.DescribeService, wire.Nothing{})
	if err != nil {
		return nil, err
	}
	key, err := client.Call(ctx, o.API, wire.GetReportKey, wire.Nothing{})
	if err == nil && len(key.PublicKey) != ed25519.PublicKeySize {
		err = errors.New("the service tells no key that signs reports")
	}
	return &Installation{Region: service.Region, AccountID: service.AccountID, Version: service.Version, Key: attest.Fingerprint(key.PublicKey)}, err
}

// Seal has the server sign a report, in either form, and puts the signature behind it.
func (o OpenIMDS) Seal(ctx context.Context, body []byte) ([]byte, error) {
	signed, err := client.Call(ctx, o.API, wire.SignReport, wire.SignReportRequest{SHA256: attest.Digest(body)})
	if err != nil {
		return nil, err
	}
	return attest.Seal(body, signed.Signature)
}

// Details is [Source].
func (o OpenIMDS) Details(ctx context.Context, in migrate.Instance, since, now time.Time) (d Details, err error) {
	counts, countsErr := client.Call(ctx, o.API, wire.GetMetadataCounts, wire.GetMetadataCountsRequest{InstanceName: in.Name, StartTime: awsjson.At(since.Truncate(time.Second))})
	for _, c := range counts.Counts {
		if c.Known.Since == nil {
			continue
		}
		d.V2 = new(c.Counts[openimds.MetricWithToken])
		d.WouldBeRefused, d.TokensLost = new(c.Counts[openimds.MetricWouldBeRefused]), new(c.Counts[openimds.MetricTokenUndelivered])
	}
	callersErr := o.callers(ctx, &d, in, since, now)
	history, historyErr := o.history(ctx, in)
	d.History = history
	whole, wholeErr := client.Call(ctx, o.API, wire.DescribeInstance, wire.DescribeInstanceRequest{InstanceName: in.Name})
	if wholeErr == nil && whole.Instance.Instance != nil {
		d.Rehearsal = whole.Instance.Rehearsal
	}
	return d, errors.Join(countsErr, callersErr, historyErr, wholeErr)
}

// callers parts those who came without a token from the others.
func (o OpenIMDS) callers(ctx context.Context, d *Details, in migrate.Instance, since, now time.Time) error {
	type who struct{ source, userAgent, process string }
	found := map[who]*Caller{}
	periods := map[who]time.Duration{}
	lost := map[who]bool{}
	for page, err := range client.Pages(ctx, o.API, wire.GetCallers, wire.GetCallersRequest{InstanceName: in.Name}) {
		if err != nil {
			return err
		}
		for _, c := range page.Callers {
			if key := (who{c.Source, c.UserAgent, processOf(c.Process)}); outOfReach(c.TokenUndelivered) {
				lost[key] = true
			}
		}
	}
	for page, err := range client.Pages(ctx, o.API, wire.GetCallers, wire.GetCallersRequest{InstanceName: in.Name, Since: awsjson.At(since.Truncate(time.Millisecond))}) {
		if err != nil {
			return err
		}
		for _, c := range page.Callers {
			key := who{c.Source, c.UserAgent, processOf(c.Process)}
			known := found[key]
			if known == nil {
				known = &Caller{Source: c.Source, UserAgent: c.UserAgent, Process: key.process}
				found[key] = known
			}
			known.add(c, since)
			periods[key] = max(periods[key], time.Duration(c.Period.Seconds)*time.Second)
		}
	}
	d.Callers, d.V2Callers = []Caller{}, new(0)
	for key, c := range found {
		if lost[key] && c.V2 == 0 && c.V1+c.Rejected > 0 {
			c.State = StateHopLimit // who goes on without the token that it lost before that time
		}
		if c.V1+c.Rejected == 0 && c.State == "" {
			*d.V2Callers++
			continue
		}
		c.conclude(periods[key], now)
		d.Callers = append(d.Callers, *c)
	}
	slices.SortFunc(d.Callers, func(a, b Caller) int {
		return cmp.Or(b.LastV1.Compare(a.LastV1), cmp.Compare(a.Source, b.Source), cmp.Compare(a.UserAgent, b.UserAgent), cmp.Compare(a.Process, b.Process))
	})
	return nil
}

func processOf(p *openimds.CallerProcess) string {
	if p == nil {
		return ""
	}
	return strings.TrimSpace(cmp.Or(p.Container, p.Unit) + " " + p.Command())
}

// add adds what a caller asked of one part of the tree since a time.
func (c *Caller) add(part wire.MetadataCaller, since time.Time) {
	c.PathGroups = append(c.PathGroups, part.PathGroup)
	slices.Sort(c.PathGroups)
	c.V1 += part.Counts[openimds.MetricNoToken] + part.Counts[openimds.CountNoTokenFailed]
	c.Rejected += part.Counts[openimds.MetricNoTokenRejected]
	c.V2 += part.Counts[openimds.MetricWithToken]
	if first := part.FirstWithoutToken.OrZero(); !first.IsZero() && (c.FirstV1.IsZero() || first.Before(c.FirstV1)) {
		c.FirstV1 = first.UTC()
	}
	if last := part.LastWithoutToken.OrZero(); last.After(c.LastV1) {
		c.LastV1 = last.UTC()
	}
	if part.LastSeen.After(c.LastSeen) {
		c.LastSeen = part.LastSeen.UTC()
		c.Period = part.Period.Text
	}
	for _, a := range part.Advice {
		if !slices.ContainsFunc(c.Advice, func(known advice.Advice) bool { return known.Text == a.Text }) {
			c.Advice = append(c.Advice, a)
		}
	}
	if u := part.TokenUndelivered; outOfReach(u) && !u.Time.Before(since) {
		c.State = StateHopLimit
	}
}

// outOfReach says that the hop limit still in force kept a token from its caller.
func outOfReach(u *wire.UndeliveredToken) bool {
	return u != nil && u.CurrentHopLimit <= u.HopLimit && (u.NeededHopLimit == 0 || u.NeededHopLimit > u.CurrentHopLimit)
}

// conclude says how far a caller is. It is done only by what it did, never by what it did not do yet.
func (c *Caller) conclude(period time.Duration, now time.Time) {
	const day = 24 * time.Hour
	switch {
	case c.State == StateHopLimit:
	case c.V2 > 0 && c.LastSeen.Sub(c.LastV1) >= max(day, period-period/10): // no month is as long as the next
		c.State, c.Advice = StateFixed, nil
	case now.Sub(c.LastSeen) >= max(day, 2*period):
		c.State = StateSilent
	default:
		c.State = StateOpen
	}
}

// history reads the changes of an instance's options.
func (o OpenIMDS) history(ctx context.Context, in migrate.Instance) (*History, error) {
	told, err := client.Call(ctx, o.API, wire.GetOptionsHistory, wire.GetOptionsHistoryRequest{InstanceName: in.Name})
	if err != nil {
		return nil, err
	}
	h := &History{Changes: []Change{}, KnownSince: told.KnownSince.OrZero().UTC()}
	for _, c := range told.Changes {
		h.Complete = h.Complete || c.After != nil && c.Before == nil // that is how it was made
		for _, what := range changed(c) {
			h.Changes = append(h.Changes, Change{Time: c.Time.UTC(), Who: c.Who, What: what})
		}
	}
	return h, nil
}

// changed says in words what a change changed.
func changed(c wire.OptionsChange) (words []string) {
	if c.After != nil && c.Before == nil {
		words = append(words, "made with "+optionsText(*c.After))
	} else if c.After != nil {
		words = append(words, fmt.Sprintf("%s → %s", optionsText(*c.Before), optionsText(*c.After)))
	}
	if c.Rehearsal != nil {
		words = append(words, "rehearsal: "+c.Rehearsal.String())
	}
	return words
}

func optionsText(o wire.MetadataOptions) string {
	return migrate.Options{Tokens: string(o.HTTPTokens), Endpoint: string(o.HTTPEndpoint), HopLimit: o.HTTPPutResponseHopLimit, IPv6: string(o.HTTPProtocolIPv6)}.String()
}
