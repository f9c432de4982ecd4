package engine

import (
	"math"

	"github.com/golang/snappy"
	"google.golang.org/protobuf/encoding/protowire"
)

// point is one value of one series: what a sample came to by then; without a metric, what [Watched] says of it.
type point struct {
	instanceID, metric string
	number             int64 // the sample's
	milliseconds       int64 // since the Unix epoch
	value              uint64
}

// A period's time is divided: what is said while it is under way comes first, what it came to afterwards. Neither end is
// used, for engines differ in whether a range of time has its ends.
const (
	periodMillis = sampleSeconds * 1000
	finalMillis  = periodMillis * 4 / 5
	finalTimes   = periodMillis - finalMillis - 1
)

// watched is the time of a word of Watched. That all was told has an earlier time than what was told: an engine that takes
// nothing older than some time does not refuse the second alone.
func watched(number int64, word uint64) int64 {
	if word == isClosed {
		return number*periodMillis + finalMillis
	}
	return number*periodMillis + 1
}

// underWay is the time of a word of a period under way that is said so many milliseconds after its beginning.
func underWay(number, after int64) int64 {
	return number*periodMillis + 1 + min(max(after, 0), periodMillis-1)*(finalMillis-2)/periodMillis
}

// final is the time of what a period came to.
func final(number int64, value uint64) int64 {
	return number*periodMillis + finalMillis + 1 + int64(value%uint64(finalTimes))
}

// The fields of the messages of remote write 1.0 (prometheus.WriteRequest, TimeSeries, Label, Sample).
const (
	requestSeries = 1
	seriesLabel   = 1
	seriesSample  = 2
	labelName     = 1
	labelValue    = 2
	sampleValue   = 1
	sampleTime    = 2
)

// encode makes a request of remote write 1.0. Points of one series are neighbours, in order of their times.
func (w *Writer) encode(points []point) []byte {
	var request, series, part []byte
	for i := 0; i < len(points); {
		first := points[i]
		series = series[:0]
		name := Calls
		if first.metric == "" {
			name = Watched
		}
		for _, label := range [][2]string{ // in order of their names
			{"__name__", name}, {"host", w.cfg.Host}, {"installation", w.cfg.Installation}, {"instance_id", first.instanceID}, {"metric", first.metric}, {"writer", w.name},
		} {
			if label[1] == "" {
				continue // a label without a value is none
			}
			part = protowire.AppendTag(part[:0], labelName, protowire.BytesType)
			part = protowire.AppendString(part, label[0])
			part = protowire.AppendTag(part, labelValue, protowire.BytesType)
			part = protowire.AppendString(part, label[1])
			series = protowire.AppendTag(series, seriesLabel, protowire.BytesType)
			series = protowire.AppendBytes(series, part)
		}
		for ; i < len(points) && points[i].instanceID == first.instanceID && points[i].metric == first.metric; i++ {
			part = protowire.AppendTag(part[:0], sampleValue, protowire.Fixed64Type)
			part = protowire.AppendFixed64(part, math.Float64bits(float64(points[i].value)))
			part = protowire.AppendTag(part, sampleTime, protowire.VarintType)
			part = protowire.AppendVarint(part, uint64(points[i].milliseconds))
			series = protowire.AppendTag(series, seriesSample, protowire.BytesType)
			series = protowire.AppendBytes(series, part)
		}
		request = protowire.AppendTag(request, requestSeries, protowire.BytesType)
		request = protowire.AppendBytes(request, series)
	}
	return snappy.Encode(nil, request)
}
