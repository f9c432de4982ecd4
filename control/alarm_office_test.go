package control_test

import (
	"context"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// handed is a history, while which is read another host gets the office.
type handed struct {
	*history
	meanwhile func()
}

func (h *handed) Points(ctx context.Context, id string, metrics []string, start, end time.Time, period time.Duration) ([][]openimds.MetricPoint, error) {
	h.meanwhile()
	return h.history.Points(ctx, id, metrics, start, end, period)
}

// Who loses the office while alarms are evaluated changes none any more: another host has seen more since.
func TestOfficeLostWhileEvaluating(t *testing.T) {
	h := &handed{history: &history{samples: map[time.Time]float64{}}, meanwhile: func() {}}
	f := newFixture(t, func(c *control.Config, _ *store.Store) { c.History = h })
	s := f.Service
	ctx := t.Context()
	f.create("web")
	config := alarmOf("web")
	config.MissingData = openimds.MissingBreaching // so that it is judged to be in alarm
	if _, err := s.PutAlarm(ctx, "alarm", config, nil); err != nil {
		t.Fatal(err)
	}
	office := func(host string) {
		t.Helper()
		if _, err := f.store.Commit(ctx, store.Change{Key: records.OfficeKey, Value: []byte(host), If: store.Whatever}); err != nil {
			t.Fatal(err)
		}
	}
	office(openimds.LocalHost)
	h.meanwhile = func() { office("another") }
	for range 2 {
		changed, err := s.EvaluateAlarms(ctx)
		alarm, failed := s.Alarm(ctx, "alarm")
		if err != nil || failed != nil || len(changed) != 0 || alarm.State != openimds.AlarmInsufficient {
			t.Fatalf("without the office: %v changed, %v; the alarm is %+v, %v", changed, err, alarm, failed)
		}
	}
	office(openimds.LocalHost)
	h.meanwhile = func() {}
	if changed, err := s.EvaluateAlarms(ctx); err != nil || len(changed) != 1 {
		t.Errorf("with the office: %v changed, %v", changed, err)
	}
}
