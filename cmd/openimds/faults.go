package main

import (
	"math"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
)

// faultsFlags are the flags as they were given.
type faultsFlags struct {
	clear, expired              bool
	on                          string
	latency, jitter, absent, to time.Duration
	status, count               int
	share, refuse, drop         portion
}

func newFaults() *cobra.Command {
	var c clientConfig
	var flags faultsFlags
	cmd := &cobra.Command{
		Use:   "faults NAME",
		Short: "Show or change what an instance's guest meets on purpose: latency, failures, refusals, drops",
		Long: `Show what an instance's guest meets on purpose, or change what a flag names, from the guest's next
request on. What no flag names stays as it is; zero ends a fault, --clear all of them. They stay over
restarts of the service and of the instance, until they are cleared, end by --for or --count, or the
instance is deleted.

Which requests meet a share is no accident: the same row of requests after the same change meets the
same. A refused connection is reset, since the kernel has accepted it by then. A dropped one hears nothing
and stays open until the client gives up, as where packets are lost: AWS drops those above 1,024 a second.

--on PATH is for all requests but PUT of that path and of what lies below it, under every version:
meta-data/iam is meta-data/iam/ and meta-data/iam/info too.`,
		Example: `  openimds faults demo --status 503 --share 25%
  openimds faults demo --latency 200ms --jitter 50ms --on token
  openimds faults demo --status 500 --on meta-data/iam --count 3
  openimds faults demo --drop 100% --for 30s
  openimds faults demo --clear`,
		Args: names(1, 1, "one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			request, changes, err := flags.request(cmd, args[0])
			if err != nil {
				return err
			}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			if changes {
				return change(cmd, &c, api, wire.UpdateInstanceFaults, request)
			}
			return c.showFaults(cmd, api, args[0])
		},
	}
	c.addFlags(cmd)
	f := cmd.Flags()
	spanVar(f, &flags.latency, "latency", 0, "how long answers are held back")
	spanVar(f, &flags.jitter, "jitter", 0, "how much the latency differs, either way")
	f.IntVar(&flags.status, "status", 0, "what a share of the requests is answered with, 400 to 599")
	flags.share = 1
	f.Var(&flags.share, "share", "how much of the requests --latency and --status are for, whichever is given or on: 10%, or a fraction such as 0.1")
	f.Var(&flags.refuse, "refuse", "the `share` of requests whose connection is reset: 10% or 0.1")
	f.Var(&flags.drop, "drop", "the `share` of requests that never hear anything: 10% or 0.1")
	f.StringVar(&flags.on, "on", "all", "the `requests` that all of these are for: token (PUT), data, all, or a path with what is below it")
	f.BoolVar(&flags.expired, "expired-credentials", false, "show credentials whose time is over")
	spanVar(f, &flags.absent, "absent-for", 0, "how long every connection is reset after each start and reboot")
	spanVar(f, &flags.to, "for", 0, "how long until all faults end by themselves")
	f.IntVar(&flags.count, "count", 0, "how many requests meet a latency, a status, a reset or a drop until all faults end by themselves")
	f.BoolVar(&flags.clear, "clear", false, "end all faults, before others are set")
	return cmd
}

// request is what the flags ask for, and whether that is any change at all.
func (f *faultsFlags) request(cmd *cobra.Command, name string) (request wire.UpdateInstanceFaultsRequest, changes bool, err error) {
	request = wire.UpdateInstanceFaultsRequest{InstanceName: name, Clear: f.clear}
	changes = f.clear
	given := func(flag string) bool {
		changed := cmd.Flags().Changed(flag)
		changes = changes || changed
		return changed
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
		unit  time.Duration
		most  time.Duration
		to    **int
	}{
		{"latency", f.latency, time.Millisecond, openimds.MaxLatency, &request.LatencyMillis},
		{"jitter", f.jitter, time.Millisecond, openimds.MaxLatency, &request.JitterMillis},
		{"absent-for", f.absent, time.Second, openimds.MaxAbsent, &request.AbsentSeconds},
		{"for", f.to, time.Millisecond, openimds.MaxFaultsFor, &request.ForMillis},
	} {
		if !given(d.flag) {
			continue
		}
		*d.to = new(int(d.value / d.unit))
		switch {
		case d.value < 0:
			return request, true, usagef("--%s cannot be negative", d.flag)
		case d.value%d.unit != 0:
			return request, true, usagef("--%s %s is too exact: give it in steps of %s", d.flag, openimds.Brief(d.value), openimds.Brief(d.unit))
		case d.value/d.unit > math.MaxInt32: // a request cannot hold it; its reason is the same as the service's
			return request, true, usagef("--%s %s is too long: the most is %s", d.flag, openimds.Brief(d.value), openimds.Brief(d.most))
		}
	}
	if given("count") {
		if f.count < 0 || f.count > openimds.MaxFaultCount {
			return request, true, usagef("--count must be 1 to %d, or 0 for no end by number, not %d", openimds.MaxFaultCount, f.count)
		}
		request.Count = &f.count
	}
	for _, s := range []struct {
		flag  string
		value portion
		to    **float64
	}{{"share", f.share, &request.Share}, {"refuse", f.refuse, &request.RefuseShare}, {"drop", f.drop, &request.DropShare}} {
		if given(s.flag) {
			*s.to = new(float64(s.value))
		}
	}
	if given("status") {
		request.Status = &f.status
	}
	if given("on") {
		request.On = &f.on
	}
	if given("expired-credentials") {
		request.ExpiredCredentials = &f.expired
	}
	return request, changes, nil
}

func (c *clientConfig) showFaults(cmd *cobra.Command, api *client.Client, name string) error {
	answer, err := client.Call(cmd.Context(), api, wire.DescribeInstance, wire.DescribeInstanceRequest{InstanceName: name})
	if err != nil {
		return err
	}
	on := answer.Instance.Faults
	if on == nil {
		on = &openimds.Faults{On: openimds.FaultsOnAll}
	}
	return c.show(cmd.OutOrStdout(), on, func(row func(...any)) {
		row("faults", answer.Instance.Faults)
		if until := on.AbsentUntil; on.Absent(time.Now()) {
			row("absent until", until.Format(time.DateTime))
		}
	})
}
