package main

import (
	"context"
	"errors"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
)

func newMetrics() *cobra.Command {
	var c clientConfig
	var selected selection
	since, period := span(24*time.Hour), span(openimds.MetricPeriod)
	var metric string
	cmd := &cobra.Command{
		Use:   "metrics [NAME...]",
		Short: "Show what was counted of instances' calls, in all or by periods",
		Long: `Show how often instances' metadata was called in a time, with and without a token; with --metric, one metric
of one instance by periods. Times are UTC. What is not known is said below: an instance that was stopped was
not counted. V1 FAILED, calls without a token that failed for another reason than the lack of one, is no metric: it is
summed up of the callers, whose calls of long ago are known by the hour or day and counted whole.`,
		Example: `  openimds metrics --since 7d
  openimds metrics demo --metric MetadataNoToken --since 1d --period 1h`,
		Args: func(cmd *cobra.Command, args []string) error { return selected.check(cmd, args, true) },
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case since <= 0 || period <= 0:
				return usagef("--since and --period must be longer than 0")
			case metric != "" && len(args) != 1:
				return usagef("--metric is of one instance: name it")
			case metric == "" && cmd.Flags().Changed("period"):
				return usagef("--period goes with --metric")
			}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			end := time.Now()
			start := end.Add(-time.Duration(since)).Truncate(time.Second)
			if metric != "" {
				return c.showPoints(cmd, api, args[0], metric, start, end, time.Duration(period))
			}
			return c.showCounts(cmd, api, &selected, args, start, end)
		},
	}
	c.addFlags(cmd)
	selected.add(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&metric, "metric", "", "the `name` of one metric, by periods")
	f.Var(&since, "since", "how far back the `duration` begins (1h30m, 7d)")
	f.Var(&period, "period", "the `duration` of a period, in whole minutes; samples are of 5 minutes")
	return cmd
}

// showCounts shows the sums of each instance.
func (c *clientConfig) showCounts(cmd *cobra.Command, api *client.Client, selected *selection, args []string, start, end time.Time) error {
	names := []string{""} // all, page by page
	if len(args) > 0 || selected.given() {
		var err error
		if names, err = selected.of(cmd.Context(), api, args); err != nil {
			return err
		}
	}
	all, known := []wire.MetadataCounts{}, []wire.Known{}
	failed := forEach(cmd, names, func(name string) error {
		request := wire.GetMetadataCountsRequest{InstanceName: name, StartTime: awsjson.At(start), EndTime: awsjson.At(end)}
		for page, err := range client.Pages(cmd.Context(), api, wire.GetMetadataCounts, request) {
			if err != nil {
				return err
			}
			for _, counts := range page.Counts {
				if err := addFailed(cmd.Context(), api, counts, start); err != nil {
					return err
				}
				all, known = append(all, counts), append(known, counts.Known)
			}
		}
		return nil
	})
	if failed != nil && len(all) == 0 {
		return failed
	}
	err := c.show(cmd.OutOrStdout(), all, func(row func(...any)) {
		row("INSTANCE", "V1 ANSWERED", "V1 REFUSED", "V1 FAILED", "TOKENS", "V2 ANSWERED", "TOKENS LOST")
		for _, one := range all {
			cells := []any{one.InstanceName}
			for _, what := range []string{openimds.MetricNoToken, openimds.MetricNoTokenRejected, openimds.CountNoTokenFailed, openimds.MetricTokenRequests, openimds.MetricWithToken, openimds.MetricTokenUndelivered} {
				n, counted := one.Counts[what]
				if !counted || one.Known.Since == nil && n == 0 { // which would tell of nothing
					cells = append(cells, "unknown")
					continue
				}
				cells = append(cells, n)
			}
			row(cells...)
		}
	})
	if err == nil && c.output != "json" {
		err = sayKnown(cmd.OutOrStdout(), "", known)
	}
	if err != nil {
		return err
	}
	return failed
}

// addFailed adds to what was counted of an instance the calls without a token that failed, of which only callers tell.
func addFailed(ctx context.Context, api *client.Client, counts wire.MetadataCounts, since time.Time) error {
	failed := int64(0)
	for page, err := range client.Pages(ctx, api, wire.GetCallers, wire.GetCallersRequest{InstanceName: counts.InstanceName, Since: awsjson.At(since)}) {
		if refused, ok := errors.AsType[*client.Error](err); ok && refused.NotFound() {
			return nil // deleted meanwhile: nobody knows
		}
		if err != nil {
			return err
		}
		for _, caller := range page.Callers {
			failed += caller.Counts[openimds.CountNoTokenFailed]
		}
	}
	if counts.Counts != nil { // as of a service that tells of none
		counts.Counts[openimds.CountNoTokenFailed] = failed
	}
	return nil
}

// showPoints shows one metric by periods. What the guest side does not count, Lightsail's operation tells.
func (c *clientConfig) showPoints(cmd *cobra.Command, api *client.Client, name, metric string, start, end time.Time, period time.Duration) error {
	statistics := []wire.MetricStatistic{"Sum", "Minimum", "Maximum", "SampleCount"}
	seconds := new(wire.MetricPeriod(period / time.Second))
	var points []wire.Datapoint
	var known *wire.Known
	data, err := client.Call(cmd.Context(), api, wire.GetMetricData, wire.GetMetricDataRequest{
		InstanceName: name, MetricName: wire.CountedMetricName(metric), Period: seconds, StartTime: awsjson.At(start), EndTime: awsjson.At(end), Statistics: statistics,
	})
	points, known = data.MetricData, &data.Known
	if m, _ := openimds.FindMetric(metric); isUnknown(err) || err != nil && m.Name != "" && !m.Counted {
		var of wire.MetricDataResult
		of, err = client.Call(cmd.Context(), api, wire.GetInstanceMetricData, wire.GetInstanceMetricDataRequest{
			InstanceName: name, MetricName: wire.InstanceMetricName(metric), Period: seconds, StartTime: awsjson.At(start), EndTime: awsjson.At(end),
			Unit: wire.MetricUnit(m.Unit), Statistics: statistics,
		})
		points, known = of.MetricData, nil
	}
	if err != nil {
		return err
	}
	number := func(value *awsjson.Double) any {
		if value == nil {
			return "-"
		}
		return float64(*value)
	}
	err = c.show(cmd.OutOrStdout(), points, func(row func(...any)) {
		row("FROM", "SUM", "MINIMUM", "MAXIMUM", "SAMPLES")
		for _, p := range points {
			row(when(p.Timestamp), number(p.Sum), number(p.Minimum), number(p.Maximum), number(p.SampleCount))
		}
	})
	if err != nil || c.output == "json" || known == nil {
		return err
	}
	return sayKnown(cmd.OutOrStdout(), "", []wire.Known{*known})
}
