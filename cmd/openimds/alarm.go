package main

import (
	"fmt"
	"strings"

	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
)

func newAlarm() *cobra.Command {
	var c clientConfig
	cmd := &cobra.Command{
		Use:   "alarm",
		Short: "Put, list, test and delete alarms on instances' metrics",
		Long: `Put, list, test and delete alarms on instances' metrics. An alarm looks at the latest periods of 5 minutes;
'openimds serve --alarm-webhook URL' posts each change of its state.`,
		Args: noSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.addFlags(cmd)
	cmd.AddCommand(newAlarmPut(&c), newAlarmList(&c), newAlarmTest(&c), newAlarmDelete(&c))
	return cmd
}

func newAlarmPut(c *clientConfig) *cobra.Command {
	var request wire.PutAlarmRequest
	var threshold float64
	var periods, datapoints int
	var notifyOn []string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "put ALARM",
		Short: "Make an alarm, or change all of the one that has the name",
		Long:  `Make an alarm, or change all of the one that has the name.`,
		Example: `  openimds alarm put v1-again --instance demo --metric MetadataNoToken
  openimds alarm put broken --instance demo --metric MetadataNoTokenRejected --threshold 10 --periods 3 --datapoints 2`,
		Args: names(1, 1, "one alarm's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if request.MonitoredResourceName == "" || request.MetricName == "" {
				return usagef("--instance and --metric say what the alarm watches: give both")
			}
			request.AlarmName = args[0]
			value := awsjson.Double(threshold)
			request.Threshold, request.EvaluationPeriods = &value, &periods
			if cmd.Flags().Changed("datapoints") {
				request.DatapointsToAlarm = &datapoints
			}
			for _, state := range notifyOn {
				request.NotificationTriggers = append(request.NotificationTriggers, wire.AlarmState(state))
			}
			if quiet {
				request.NotificationEnabled = new(false)
			}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			return change(cmd, c, api, wire.PutAlarm, request)
		},
	}
	f := cmd.Flags()
	f.StringVar(&request.MonitoredResourceName, "instance", "", "the `name` of the instance that it watches")
	f.StringVar((*string)(&request.MetricName), "metric", "", "the `name` of the metric, such as MetadataNoToken")
	f.StringVar((*string)(&request.ComparisonOperator), "comparison", "GreaterThanThreshold", "how a period's sum is held against the threshold")
	f.Float64Var(&threshold, "threshold", 0, "what it is held against")
	f.IntVar(&periods, "periods", 1, "how many of the latest periods are looked at, 1 to 288")
	f.IntVar(&datapoints, "datapoints", 0, "how many of these must breach the threshold (default: all)")
	f.StringVar((*string)(&request.TreatMissingData), "missing-data", "", "what a period without samples is taken for: breaching, notBreaching, ignore or missing (the default)")
	f.StringSliceVar(&notifyOn, "notify-on", nil, "the states whose beginning is told, ALARM among them; repeatable (default: ALARM)")
	f.BoolVar(&quiet, "quiet", false, "tell of no state")
	return cmd
}

func newAlarmList(c *clientConfig) *cobra.Command {
	var instance string
	cmd := &cobra.Command{
		Use:   "list [ALARM]",
		Short: "List all alarms, those of an instance, or one",
		Args:  names(0, 1, "at most one alarm's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := wire.GetAlarmsRequest{MonitoredResourceName: instance, AlarmName: strings.Join(args, "")}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			all := []wire.Alarm{}
			for page, err := range client.Pages(cmd.Context(), api, wire.GetAlarms, request) {
				if err != nil {
					return err
				}
				all = append(all, page.Alarms...)
			}
			return c.show(cmd.OutOrStdout(), all, func(row func(...any)) {
				row("NAME", "STATE", "INSTANCE", "METRIC", "BREACHES", "OF PERIODS", "MISSING DATA", "TELLS OF")
				for _, a := range all {
					tells := "nothing"
					if a.NotificationEnabled {
						tells = fmt.Sprint(a.NotificationTriggers)
					}
					row(a.Name, a.State, a.MonitoredResourceInfo.Name, a.MetricName, fmt.Sprintf("%s %g", a.ComparisonOperator, float64(a.Threshold)),
						fmt.Sprintf("%d of %d", a.DatapointsToAlarm, a.EvaluationPeriods), a.TreatMissingData, strings.Trim(tells, "[]"))
				}
			})
		},
	}
	cmd.Flags().StringVar(&instance, "instance", "", "only those of this instance: a `name`")
	return cmd
}

func newAlarmTest(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use:   "test ALARM STATE",
		Short: "Put an alarm into OK, ALARM or INSUFFICIENT_DATA until it is evaluated again",
		Args:  names(2, 2, "an alarm's name and a state"),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			return change(cmd, c, api, wire.TestAlarm, wire.TestAlarmRequest{AlarmName: args[0], State: wire.AlarmState(args[1])})
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			switch len(args) {
			case 0:
				return completed(alarmsOf, false)(cmd, args, begun)
			case 1:
				return wire.AlarmState.Values(""), cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

func newAlarmDelete(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use:   "delete ALARM...",
		Short: "Delete alarms",
		Args:  names(1, 0, "at least one alarm's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return changeEach(cmd, c, args, wire.DeleteAlarm, func(name string) wire.AlarmRequest { return wire.AlarmRequest{AlarmName: name} })
		},
	}
}
