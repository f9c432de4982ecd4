package cloudwatch

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/cloudwatch/wire"
)

// TestLargeRequests: the largest body, made so that it becomes as much as it can, takes a bounded part of the memory in each
// form, and is refused: whoever has a key that may only look could send many at once.
func TestLargeRequests(t *testing.T) {
	const body = 1 << 20
	deep := ""
	for n := 0; n < 9_000; n++ {
		deep += fmt.Sprintf("%x.a.a.a.a.a.a.a.a.a.a.a.a.a.a=&", n)
	}
	query := func(text string) error {
		q, err := readQuery([]byte(text))
		if err == nil {
			_, err = q.json(new(wire.GetMetricDataRequest))
		}
		return err
	}
	cbor := "\xa1\x71MetricDataQueries\x9f" + strings.Repeat("\xa0", body-30) + "\xff"
	for name, tt := range map[string]struct {
		read func() error
		want string
	}{
		"JSON": {func() error {
			return awsjson.Decode([]byte(`{"MetricDataQueries":[`+strings.Repeat(`{},`, body/3-20)+`{}]}`), new(wire.GetMetricDataRequest))
		}, "The lists of the request have more than 20000 items"},
		"CBOR": {func() error {
			text, err := jsonOfCBOR([]byte(cbor))
			if err == nil {
				err = awsjson.Decode(text, new(wire.GetMetricDataRequest))
			}
			return err
		}, "The lists of the request have more than 20000 items"},
		"many names":   {func() error { return query(strings.Repeat("a&", body/2)) }, "The request has more than 10000 parameters"},
		"nested names": {func() error { return query(deep) }, "The names of the request's parameters have more than 20000 parts"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := tt.read()
		runtime.ReadMemStats(&after)
		if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 40 {
			t.Errorf("%s: a body of 1 MiB takes %d MiB", name, took)
		}
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
}
