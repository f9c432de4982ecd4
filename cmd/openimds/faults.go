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
	clear, expired          bool
	on                      string
	latency, jitter, absent time.Duration
	status                  int
	share, refuse           float64
}

func newFaults() *cobra.Command {
	var c clientConfig
	var flags faultsFlags
	cmd := &cobra.Command{
		Use:   "faults NAME",
		Short: "Show or change what an instance's guest meets on purpose: latency, failures, refusals",
		Long: `Show what an instance's guest meets on purpose, or change what a flag names, from the guest's next
request on. What no flag names stays as it is; zero ends a fault, --clear all of them. They stay over
restarts of the service and of the instance, until they are cleared or the instance is deleted.

  openimds faults demo --status 503 --share 0.25
  openimds faults demo --latency 200ms --jitter 50ms --on token
  openimds faults demo --clear

Which requests meet a share is no accident: the same row of requests after the same change meets the
same. A refused connection is reset, since the kernel has accepted it by then.`,
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
	f.DurationVar(&flags.latency, "latency", 0, "how long answers are held back")
	f.DurationVar(&flags.jitter, "jitter", 0, "how much the latency differs, either way")
	f.IntVar(&flags.status, "status", 0, "what a share of the requests is answered with, 400 to 599")
	f.Float64Var(&flags.share, "share", 1, "the share of requests that --status is for, 0 to 1")
	f.Float64Var(&flags.refuse, "refuse", 0, "the `share` of requests whose connection is reset, 0 to 1")
	f.StringVar(&flags.on, "on", "all", "the requests that all of these are for: token (PUT), data or all")
	f.BoolVar(&flags.expired, "expired-credentials", false, "show credentials whose time is over")
	f.DurationVar(&flags.absent, "absent-for", 0, "how long every connection is reset after each start and reboot")
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
		to    **int
	}{
		{"latency", f.latency, time.Millisecond, &request.LatencyMillis},
		{"jitter", f.jitter, time.Millisecond, &request.JitterMillis},
		{"absent-for", f.absent, time.Second, &request.AbsentSeconds},
	} {
		if given(d.flag) {
			*d.to = new(int(d.value / d.unit))
			if d.value%d.unit != 0 || d.value < 0 {
				return request, true, usagef("--%s %v is not a number of whole times %v", d.flag, d.value, d.unit)
			}
		}
	}
	// A request cannot hold what is far too long; its reason is the same.
	if given("latency") && f.latency/time.Millisecond > math.MaxInt32 {
		return request, true, usagef("--latency %v is too long: the most is %v", f.latency, openimds.MaxLatency)
	}
	if given("absent-for") && f.absent/time.Second > math.MaxInt32 {
		return request, true, usagef("--absent-for %v is too long: the most is %v", f.absent, openimds.MaxAbsent)
	}
	for _, s := range []struct {
		flag  string
		value *float64
		to    **float64
	}{{"share", &f.share, &request.StatusShare}, {"refuse", &f.refuse, &request.RefuseShare}} {
		if given(s.flag) {
			*s.to = s.value
			if !(*s.value >= 0 && *s.value <= 1) { // a NaN has no form in JSON
				return request, true, usagef("--%s must be 0 to 1, not %v", s.flag, *s.value)
			}
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
		if until := on.AbsentUntil; until.After(time.Now()) {
			row("absent until", until.Format(time.DateTime))
		}
	})
}
