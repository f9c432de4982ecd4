package migrate

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/api/lightsail/wire"
)

// counter is a server whose counter of refused calls is that, and that has forgotten who was refused.
type counter struct {
	id      string
	refused int64
	asked   int // how often it was asked who was refused
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetCallers") {
		c.asked++
		return answerOf(http.StatusOK, wire.GetCallersResult{}), nil
	}
	return answerOf(http.StatusOK, wire.WaitForRefusalsResult{Instances: []wire.RefusedNumber{{InstanceName: "web", InstanceID: "i-1", Refused: new(c.refused), CounterID: c.id}}}), nil
}

// TestCounterBeganAnew: a server that was started anew counts refused calls from zero, so that a number that is as large as
// the one before tells of others, and who was refused by the former process is looked for too.
func TestCounterBeganAnew(t *testing.T) {
	for name, c := range map[string]struct {
		then    counter
		refused bool
		asked   int
	}{
		"nothing new":             {counter{id: "a", refused: 2}, false, 0},
		"another":                 {counter{id: "a", refused: 3}, true, 1},
		"anew, and as many":       {counter{id: "b", refused: 2}, true, 1},
		"anew, and fewer":         {counter{id: "b", refused: 1}, true, 1},
		"anew, and nobody so far": {counter{id: "b"}, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := &counter{id: "a", refused: 2}
			w := NewOpenIMDS(newClient(t, s)).Watch()
			if _, err := w.Add(t.Context(), Ref{Name: "web"}, time.Time{}); err != nil {
				t.Fatal(err)
			}
			*s = c.then
			for round := range 2 { // once told, it is nothing new
				refused, _, err := w.Next(t.Context())
				if err != nil || (len(refused) > 0) != (c.refused && round == 0) || s.asked != c.asked {
					t.Errorf("round %d: refused are %v, %v; it was asked for callers %d times", round, refused, err, s.asked)
				}
			}
		})
	}
}
