package openimds_test

import "github.com/openimds/openimds"

func alarmOf(instance string) openimds.AlarmConfig {
	return openimds.AlarmConfig{Metric: openimds.MetricNoToken, Instance: instance, Comparison: openimds.AtLeast, Threshold: 1, Periods: 1}
}
