package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
)

const rehearseHelp = `Try out required session tokens without requiring them, or show what came of it. The options of the
instances stay what they are, and the rehearsal ends by itself: its end is a moment that is stored with the
instance, so that no restart, lost connection or absent operator makes it longer.

  --shadow     answers everybody, and counts who would be refused: each call without a token that required
               tokens would refuse, among them those of callers whom their token did not reach
  --brown-out  refuses such calls as required tokens would (401), all of them or the share that --share
               says (10%), and counts the others

Without either of them it shows the rehearsal of each instance and who would be refused:

  REFUSED           calls that were refused for the lack of a token while it lasted
  WOULD BE REFUSED  calls that were answered and would not be
  BY HOP LIMIT      those of the two that callers made whom their token did not reach: they need a
                    larger hop limit, not another version

A new rehearsal of an instance takes the place of one that is under way there.

While it lasted is counted by whole periods of five minutes. Behind the table are those who made such calls.`

// rehearseFlags are the flags as they were given.
type rehearseFlags struct {
	shadow, brownOut, stop, yes bool
	lasts                       span
	share                       portion
	provider                    string
	plan, wave                  string
}

func newMigrateRehearse(m *migrateFlags) *cobra.Command {
	var flags rehearseFlags
	cmd := &cobra.Command{
		Use:   "rehearse [NAME…]",
		Short: "Count or refuse for a while whoever required tokens would refuse",
		Long:  rehearseHelp,
		Example: `  openimds migrate rehearse web-1 web-2 --shadow --for 7d
  openimds migrate rehearse web-1 --brown-out --for 10m --share 10% --yes
  openimds migrate rehearse web-1
  openimds migrate rehearse web-1 --stop
  openimds migrate rehearse --plan plan.yaml --wave canary --brown-out --for 10m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.provider = m.provider
			if m.provider == "openimds" && (m.allRegions || len(m.flagRegions()) > 1) {
				return usagef("a rehearsal is of one region: name one --region at a time")
			}
			if (len(args) > 0) == (flags.plan != "") {
				return usagef("name the instances, or a --plan that has them")
			}
			return flags.run(cmd, m, args)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.shadow, "shadow", false, "answer everybody, and count who would be refused")
	f.BoolVar(&flags.brownOut, "brown-out", false, "refuse calls without a token, as required tokens would")
	f.BoolVar(&flags.stop, "stop", false, "end the rehearsal now")
	f.Var(&flags.lasts, "for", "how long it lasts (10m, 7d; default: a shadow a week, a brown-out 10 minutes)")
	flags.share = 1
	f.Var(&flags.share, "share", "how much of the calls without a token a brown-out refuses: 10%, or a fraction such as 0.1")
	f.StringVar(&flags.plan, "plan", "", "`file` with a plan, whose instances are meant that do not require tokens yet")
	f.StringVar(&flags.wave, "wave", "", "only those of one wave of the plan")
	f.BoolVar(&flags.yes, "yes", false, "begin a brown-out, which refuses calls, without being asked")
	return cmd
}

// check refuses flags that do not go together.
func (r *rehearseFlags) check(cmd *cobra.Command) error {
	given, chosen := cmd.Flags().Changed, 0
	for _, on := range []bool{r.shadow, r.brownOut, r.stop} {
		if on {
			chosen++
		}
	}
	switch {
	case r.provider != "openimds":
		return usagef("--provider %s cannot rehearse: AWS's service knows tokens optional and required, and nothing between; rehearse on an openimds host", r.provider)
	case chosen > 1:
		return usagef("give one of --shadow, --brown-out and --stop")
	case r.wave != "" && r.plan == "":
		return usagef("--wave is of a --plan")
	case given("share") && !r.brownOut:
		return usagef("--share is of a --brown-out")
	case given("for") && !r.shadow && !r.brownOut:
		return usagef("--for is of a --shadow or a --brown-out")
	case r.share == 0:
		return usagef("--share must be above 0: a brown-out of nothing is a --shadow")
	case given("for") && r.lasts <= 0:
		return usagef("--for must be longer than 0")
	case given("for") && time.Duration(r.lasts)%time.Second != 0:
		return usagef("--for %v is too exact: give it in whole seconds", &r.lasts)
	case time.Duration(r.lasts)/time.Second > math.MaxInt32:
		return usagef("--for %v is too long", &r.lasts)
	}
	return nil
}

func (r *rehearseFlags) run(cmd *cobra.Command, m *migrateFlags, args []string) error {
	if err := r.check(cmd); err != nil {
		return err
	}
	c := &m.clientConfig
	if isAmazon(c.location().url) {
		return usagef("--endpoint %s cannot rehearse: AWS's service knows tokens optional and required, and nothing between; rehearse on an openimds host", c.location().url)
	}
	args, err := r.instances(cmd.Context(), m, args)
	if err != nil {
		return err
	}
	switch {
	case r.stop:
		return changeEach(cmd, c, args, wire.StopRehearsal, named)
	case !r.shadow && !r.brownOut:
		return c.showRehearsals(cmd, args)
	}
	request := wire.StartRehearsalRequest{Mode: string(openimds.RehearseShadow)}
	lasts := cmp.Or(time.Duration(r.lasts), 7*24*time.Hour)
	if r.brownOut {
		lasts = cmp.Or(time.Duration(r.lasts), 10*time.Minute)
		request.Mode, request.Share = string(openimds.RehearseBrownOut), new(float64(r.share))
		what := fmt.Sprintf("a brown-out of %v for %s would refuse calls of %s", &r.share, openimds.Brief(lasts), counted(len(args), "instance"))
		if !r.yes && !canAsk(cmd.InOrStdin()) {
			return fmt.Errorf("nothing was changed: %s; give --yes to begin it", what)
		}
		if !r.yes {
			if err := askYes(cmd.InOrStdin(), cmd.ErrOrStderr(), "openimds: "+what+". Begin it?"); err != nil {
				return err
			}
		}
	}
	request.Seconds = new(int(lasts / time.Second))
	if err := c.warnReplaced(cmd, args); err != nil {
		return err
	}
	return changeEach(cmd, c, args, wire.StartRehearsal, func(name string) wire.StartRehearsalRequest {
		request.InstanceName = name
		return request
	})
}

// warnReplaced says which rehearsals end since others begin in their place. What cannot be looked at is the
// change's to refuse.
func (c *clientConfig) warnReplaced(cmd *cobra.Command, names []string) error {
	api, err := c.open(cmd.Context())
	if err != nil {
		return err
	}
	for _, name := range names {
		in, err := client.Call(cmd.Context(), api, wire.DescribeInstance, wire.DescribeInstanceRequest{InstanceName: name})
		if err != nil || !in.Instance.Rehearsal.UnderWay(time.Now()) {
			continue
		}
		if err := say(cmd.ErrOrStderr(), "openimds: %s: the new rehearsal takes the place of the one under way (%v)\n", name, in.Instance.Rehearsal); err != nil {
			return err
		}
	}
	return nil
}

// instances are those that are named, or those of the plan.
func (r *rehearseFlags) instances(ctx context.Context, m *migrateFlags, args []string) ([]string, error) {
	if r.plan == "" {
		return args, nil
	}
	plan, err := readPlan(r.plan)
	if err != nil {
		return nil, err
	}
	p, err := m.openProvider(ctx)
	if err != nil {
		return nil, err
	}
	all, err := p.Instances(ctx)
	if err != nil {
		return nil, err
	}
	found, err := plan.Rehearsing(all, r.wave, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.plan, err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: there is nothing to rehearse: all of its instances require tokens, or are excepted", r.plan)
	}
	for _, in := range found {
		args = append(args, in.Name)
	}
	return args, nil
}

// rehearsed is what came of an instance's latest rehearsal.
type rehearsed struct {
	InstanceName string              `json:"instanceName"`
	Rehearsal    *openimds.Rehearsal `json:"rehearsal"` // nil: there was none
	UnderWay     bool                `json:"underWay"`
	// Calls in the periods of the history that it lasted: refused, and those that would be.
	Refused        int64 `json:"refused"`
	WouldBeRefused int64 `json:"wouldBeRefused"`
	// ByHopLimit are such calls, since it began, by callers whom their token did not reach.
	ByHopLimit int64 `json:"byHopLimit"`
	// Callers are those who made such calls since it began.
	Callers []wire.MetadataCaller `json:"callers"`
	hints   []string
}

func (c *clientConfig) showRehearsals(cmd *cobra.Command, args []string) error {
	api, err := c.open(cmd.Context())
	if err != nil {
		return err
	}
	all := []rehearsed{}
	for _, name := range args {
		one, err := rehearsalOf(cmd.Context(), api, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, one)
	}
	out := cmd.OutOrStdout()
	err = c.show(out, all, func(row func(...any)) {
		row("INSTANCE", "REFUSED", "WOULD BE REFUSED", "BY HOP LIMIT", "CALLERS", "REHEARSAL")
		for _, r := range all {
			state := r.Rehearsal.String()
			if r.Rehearsal != nil && !r.UnderWay {
				state += ", over"
			}
			row(r.InstanceName, r.Refused, r.WouldBeRefused, r.ByHopLimit, len(r.Callers), state)
		}
	})
	if err != nil || c.output == "json" {
		return err
	}
	for _, r := range all {
		for _, caller := range r.Callers {
			if err := say(out, "%s, %s %s: %s to %s, the last at %s\n", r.InstanceName, caller.Source, dash(caller.UserAgent),
				counted(int(rehearsedCalls(caller)), "call"), caller.PathGroup, whenever(caller.LastWithoutToken)); err != nil {
				return err
			}
		}
		for _, hint := range r.hints {
			if err := say(out, "%s\n", hint); err != nil {
				return err
			}
		}
	}
	return nil
}

// rehearsalOf reads what came of the rehearsal of one instance.
func rehearsalOf(ctx context.Context, api *client.Client, name string) (rehearsed, error) {
	r := rehearsed{InstanceName: name, Callers: []wire.MetadataCaller{}}
	answer, err := client.Call(ctx, api, wire.DescribeInstance, wire.DescribeInstanceRequest{InstanceName: name})
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.Exception == "UnknownOperationException" {
		return r, errors.New("this service cannot rehearse; openimds can")
	}
	if err != nil || answer.Instance.Rehearsal == nil {
		return r, err
	}
	r.Rehearsal = answer.Instance.Rehearsal
	r.UnderWay = r.Rehearsal.UnderWay(time.Now())
	type who struct{ source, userAgent string }
	lost := map[who]bool{}
	for page, err := range client.Pages(ctx, api, wire.GetCallers, wire.GetCallersRequest{InstanceName: name, Since: awsjson.At(r.Rehearsal.Since.Truncate(time.Millisecond))}) {
		if err != nil {
			return r, err
		}
		for _, caller := range page.Callers {
			if why := hint(caller, r.Rehearsal.Since); why != "" {
				r.hints = append(r.hints, why)
				lost[who{caller.Source, caller.UserAgent}] = true
			}
			if rehearsedCalls(caller) > 0 {
				r.Callers = append(r.Callers, caller)
			}
		}
	}
	for _, caller := range r.Callers {
		if lost[who{caller.Source, caller.UserAgent}] {
			r.ByHopLimit += rehearsedCalls(caller)
		}
	}
	return r, r.count(ctx, api)
}

// count reads how many calls there were.
func (r *rehearsed) count(ctx context.Context, api *client.Client) error {
	end := time.Now()
	for _, ended := range []time.Time{r.Rehearsal.Until, r.Rehearsal.Ended} {
		if !ended.IsZero() && ended.Before(end) {
			end = ended
		}
	}
	counts, err := client.Call(ctx, api, wire.GetMetadataCounts, wire.GetMetadataCountsRequest{
		InstanceName: r.InstanceName, StartTime: awsjson.At(r.Rehearsal.Since.Truncate(time.Second)), EndTime: awsjson.At(end.Truncate(time.Second).Add(time.Second)),
	})
	if err != nil {
		return err
	}
	for _, one := range counts.Counts {
		r.Refused, r.WouldBeRefused = one.Counts[openimds.MetricNoTokenRejected], one.Counts[openimds.MetricWouldBeRefused]
	}
	return nil
}

func rehearsedCalls(c wire.MetadataCaller) int64 {
	return c.Counts[openimds.MetricNoTokenRejected] + c.Counts[openimds.MetricWouldBeRefused]
}
