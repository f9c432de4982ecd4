package wire

import (
	"math"
	"regexp"
	"sync"
)

// The constrained types of the API's model, as requests use them. Their forms are large ones, which most commands never
// need: each is made when it is first asked for.

// Text255 is a name of any kind.
type Text255 string

var text255Form = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?s).{1,255}$`) })

// Form is [awsjson.Formed].
func (Text255) Form() *regexp.Regexp { return text255Form() }

// Namespace is whose metrics they are.
type Namespace string

var namespaceForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[^:](?s).{0,254}$`) })

// Form is [awsjson.Formed].
func (Namespace) Form() *regexp.Regexp { return namespaceForm() }

// DimensionValue is a dimension's value.
type DimensionValue string

// regexp has no repetition above 1000.
var dimensionValueForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?s).{1,1000}.{0,24}$`) })

// Form is [awsjson.Formed].
func (DimensionValue) Form() *regexp.Regexp { return dimensionValueForm() }

// MetricFormula is an expression over metrics.
type MetricFormula string

var metricFormulaForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?s).{1,1000}.{0,1000}.{0,48}$`) })

// Form is [awsjson.Formed].
func (MetricFormula) Form() *regexp.Regexp { return metricFormulaForm() }

// TagKey is the key of a tag.
type TagKey string

var tagKeyForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?s).{1,128}$`) })

// Form is [awsjson.Formed].
func (TagKey) Form() *regexp.Regexp { return tagKeyForm() }

// Period is a number from 1 on: of seconds, or of periods.
type Period int

// Bounds is [awsjson.Bounded].
func (Period) Bounds() (least, most int) { return 1, math.MaxInt32 }

// MaxRecords is how many alarms may be on a page.
type MaxRecords int

// Bounds is [awsjson.Bounded].
func (MaxRecords) Bounds() (least, most int) { return 1, 100 }

// Statistic is what becomes of the samples of a period.
type Statistic string

// Values is [awsjson.Enumerated].
func (Statistic) Values() []string {
	return []string{"SampleCount", "Average", "Sum", "Minimum", "Maximum"}
}

// ScanBy is the order of points.
type ScanBy string

// Values is [awsjson.Enumerated].
func (ScanBy) Values() []string { return []string{"TimestampDescending", "TimestampAscending"} }

// RecentlyActive is how long ago a metric may have had its latest point.
type RecentlyActive string

// Values is [awsjson.Enumerated].
func (RecentlyActive) Values() []string { return []string{"PT3H"} }

// AlarmType is a kind of alarm.
type AlarmType string

// Values is [awsjson.Enumerated].
func (AlarmType) Values() []string { return []string{"CompositeAlarm", "MetricAlarm"} }

// StateValue is what an alarm has found.
type StateValue string

// Values is [awsjson.Enumerated].
func (StateValue) Values() []string { return []string{"OK", "ALARM", "INSUFFICIENT_DATA"} }

// ComparisonOperator is how a value is held against an alarm's threshold, or against a band of an anomaly detector.
type ComparisonOperator string

// Values is [awsjson.Enumerated].
func (ComparisonOperator) Values() []string {
	return []string{"GreaterThanOrEqualToThreshold", "GreaterThanThreshold", "LessThanThreshold", "LessThanOrEqualToThreshold",
		"LessThanLowerOrGreaterThanUpperThreshold", "LessThanLowerThreshold", "GreaterThanUpperThreshold"}
}

// StandardUnit is what a metric is measured in.
type StandardUnit string

// Values is [awsjson.Enumerated].
func (StandardUnit) Values() []string {
	return []string{"Seconds", "Microseconds", "Milliseconds", "Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes",
		"Bits", "Kilobits", "Megabits", "Gigabits", "Terabits", "Percent", "Count", "Bytes/Second", "Kilobytes/Second",
		"Megabytes/Second", "Gigabytes/Second", "Terabytes/Second", "Bits/Second", "Kilobits/Second", "Megabits/Second",
		"Gigabits/Second", "Terabits/Second", "Count/Second", "None"}
}
