package main

import (
	"slices"
	"time"

	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/control"
	"github.com/spf13/cobra"
)

// at is the time that lies d ahead, on the wire.
func at(d time.Duration) *awsjson.Epoch { return awsjson.At(time.Now().Add(d)) }

func newEvent() *cobra.Command {
	var c clientConfig
	cmd := &cobra.Command{
		Use:   "event",
		Short: "Announce events to instances: spot interruptions, maintenance, rebalance, lifecycle",
		Args:  noSubcommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.addFlags(cmd)
	cmd.AddCommand(newEventSpot(&c), newEventRebalance(&c), newEventMaintenance(&c), newEventLifecycle(&c), newEventClear(&c), newEventPlay(&c))
	return cmd
}

// announce makes the change on each of the instances named.
func (c *clientConfig) announce(cmd *cobra.Command, instances []string, request wire.UpdateInstanceEventsRequest) error {
	return changeEach(cmd, c, instances, wire.UpdateInstanceEvents, func(name string) wire.UpdateInstanceEventsRequest {
		request.InstanceName = name
		return request
	})
}

func newEventSpot(c *clientConfig) *cobra.Command {
	var action string
	var in time.Duration
	cmd := &cobra.Command{
		Use:   "spot NAME...",
		Short: "Announce that a spot instance will be interrupted",
		Args:  names(1, 0, "at least one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if in <= 0 {
				return usagef("--in must be a time ahead, such as 2m")
			}
			return c.announce(cmd, args, wire.UpdateInstanceEventsRequest{Spot: &wire.SpotEvent{Action: action, Time: at(in)}})
		},
	}
	cmd.Flags().StringVar(&action, "action", "terminate", "terminate, stop or hibernate")
	spanVar(cmd.Flags(), &in, "in", 2*time.Minute, "how far ahead the interruption is")
	return cmd
}

func newEventRebalance(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use:   "rebalance NAME...",
		Short: "Recommend to rebalance, as of now",
		Args:  names(1, 0, "at least one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.announce(cmd, args, wire.UpdateInstanceEventsRequest{Rebalance: &wire.RebalanceEvent{NoticeTime: at(0)}})
		},
	}
}

func newEventMaintenance(c *clientConfig) *cobra.Command {
	var m wire.MaintenanceChange
	var in, duration time.Duration
	cmd := &cobra.Command{
		Use:   "maintenance NAME...",
		Short: "Schedule maintenance, or with --id change an event that is scheduled",
		Args:  names(1, 0, "at least one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if in < 0 || duration < 0 {
				return usagef("--in and --duration cannot be negative")
			}
			if m.EventID != "" && duration > 0 && !cmd.Flags().Changed("in") {
				return usagef("--duration with --id counts from --in: give that too")
			}
			if m.EventID == "" || cmd.Flags().Changed("in") {
				m.NotBefore = at(in)
			}
			if duration > 0 {
				m.NotAfter = at(in + duration)
			}
			if m.EventID == "" && m.Code == "" {
				m.Code = "system-reboot"
			}
			return c.announce(cmd, args, wire.UpdateInstanceEventsRequest{Maintenance: &m})
		},
	}
	f := cmd.Flags()
	f.StringVar(&m.EventID, "id", "", "`id` of the event to change")
	f.StringVar(&m.Code, "code", "", "instance-reboot, instance-retirement, instance-stop, system-maintenance or system-reboot (the default of a new event)")
	f.StringVar(&m.Description, "description", "", "what the guest reads about it")
	f.StringVar(&m.State, "state", "", "active, completed or canceled; the last two move it to the history")
	spanVar(f, &in, "in", 24*time.Hour, "how far ahead it begins")
	spanVar(f, &duration, "duration", 0, "how long it lasts at most; 0: not said")
	return cmd
}

func newEventLifecycle(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use:   "lifecycle STATE NAME...",
		Short: "Set the target lifecycle state of an Auto Scaling group: InService, Terminated, Warmed:Stopped …",
		Args:  names(2, 0, "a state and at least one name"),

		ValidArgsFunction: completeLifecycle,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.announce(cmd, args[1:], wire.UpdateInstanceEventsRequest{LifecycleState: &args[0]})
		},
	}
}

func newEventClear(c *clientConfig) *cobra.Command {
	var kinds []string
	cmd := &cobra.Command{
		Use:   "clear NAME...",
		Short: "Take announcements back",
		Args:  names(1, 0, "at least one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(kinds) == 0 {
				kinds = eventKinds()
			}
			for _, kind := range kinds {
				if !slices.Contains(eventKinds(), kind) {
					return usagef("--kind %q is not one of %v", kind, eventKinds())
				}
			}
			return c.announce(cmd, args, wire.UpdateInstanceEventsRequest{Clear: kinds})
		},
	}
	cmd.Flags().StringSliceVar(&kinds, "kind", nil, "only spot, rebalance, maintenance or lifecycle; repeatable")
	return cmd
}

func eventKinds() []string {
	var kinds []string
	for _, kind := range control.EventKinds() {
		kinds = append(kinds, string(kind))
	}
	return kinds
}
