package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
)

// TestWait: operations are asked for until all have ended, ever more seldom, and not without end.
func TestWait(t *testing.T) {
	op := func(status string) string {
		terminal := "false"
		if status != "Started" {
			terminal = "true"
		}
		return `{"operation":{"id":"op","operationType":"CreateInstance","resourceName":"web","status":"` + status + `","isTerminal":` + terminal + `,"errorDetails":"the disk is full"}}`
	}
	started := wire.Operation{ID: "op", OperationType: "CreateInstance", ResourceName: "web", Status: "Started"}
	ended := wire.Operation{ID: "other", Status: "Succeeded", IsTerminal: true}
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			answers []any
			asked   int
			status  string
			err     string
		}{
			{[]any{op("Started"), op("Started"), op("Succeeded")}, 3, "Succeeded", ""},
			{[]any{op("Completed")}, 1, "Completed", ""},
			{[]any{op("Started"), op("Failed")}, 2, "Failed", "CreateInstance of web failed: the disk is full"},
			{[]any{refusal{400, `{"__type":"NotFoundException","message":"The Operation does not exist: op"}`}}, 1, "Started", "NotFoundException: The Operation does not exist: op"},
		} {
			f := &fake{answers: tt.answers}
			got, err := client.Wait(t.Context(), newClient(t, f), []wire.Operation{ended, started})
			text := ""
			if err != nil {
				text = err.Error()
			}
			if len(got) != 2 || got[0] != ended || got[1].Status != tt.status || len(f.asked) != tt.asked || text != tt.err {
				t.Errorf("%v: %+v after %d requests, %q; want %s after %d, %q", tt.answers, got, len(f.asked), text, tt.status, tt.asked, tt.err)
			}
			if failed, ok := errors.AsType[*client.Failed](err); ok != (tt.status == "Failed") || ok && failed.Operation.ID != "op" {
				t.Errorf("%v: the error is %#v", tt.answers, err)
			}
		}

		// Of many that end together, none waits longer for having others before it.
		many, all := make([]wire.Operation, 20), []any{op("Started")}
		for i := range many {
			many[i] = started
			all = append(all, op("Succeeded"))
		}
		f := &fake{answers: all}
		begun := time.Now()
		if _, err := client.Wait(t.Context(), newClient(t, f), many); err != nil || time.Since(begun) > 200*time.Millisecond || len(f.asked) != 21 {
			t.Errorf("many: %v after %s and %d requests", err, time.Since(begun), len(f.asked))
		}

		f = &fake{answers: []any{op("Started")}}
		begun = time.Now()
		_, err := client.Wait(t.Context(), newClient(t, f), []wire.Operation{started})
		if passed := time.Since(begun); err == nil || err.Error() != "CreateInstance of web: not ended after 20m0s" || passed < 20*time.Minute || passed > 21*time.Minute || len(f.asked) > 700 {
			t.Errorf("one that does not end: %v after %s and %d requests", err, passed, len(f.asked))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := client.Wait(ctx, newClient(t, f), []wire.Operation{started}); !errors.Is(err, context.Canceled) {
			t.Errorf("whose caller leaves: %v", err)
		}
		if got, err := client.Wait(ctx, newClient(t, f), []wire.Operation{ended}); err != nil || got[0] != ended {
			t.Errorf("what has ended is not waited for: %+v, %v", got, err)
		}
	})
}
