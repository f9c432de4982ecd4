package lightsail_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/agent"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// optionsUpdate is a request of UpdateInstanceMetadataOptions; what is empty keeps its value.
type optionsUpdate struct {
	Tokens   string `json:"httpTokens,omitempty"`
	Endpoint string `json:"httpEndpoint,omitempty"`
	HopLimit int    `json:"httpPutResponseHopLimit,omitempty"`
	IPv6     string `json:"httpProtocolIpv6,omitempty"`
}

// over is the state that the update leads to.
func (u optionsUpdate) over(was optionsUpdate) optionsUpdate {
	if u.Tokens != "" {
		was.Tokens = u.Tokens
	}
	if u.Endpoint != "" {
		was.Endpoint = u.Endpoint
	}
	if u.HopLimit != 0 {
		was.HopLimit = u.HopLimit
	}
	if u.IPv6 != "" {
		was.IPv6 = u.IPv6
	}
	return was
}

func randomUpdate(r *rand.Rand) (u optionsUpdate) {
	switches := []string{"", "enabled", "disabled"}
	u.Tokens = []string{"", "optional", "required"}[r.IntN(3)]
	u.Endpoint, u.IPv6, u.HopLimit = switches[r.IntN(3)], switches[r.IntN(3)], r.IntN(5)
	return u
}

func optionsIn(in *openimds.Instance) optionsUpdate {
	o := in.Options
	return optionsUpdate{string(o.Tokens), string(o.Endpoint), o.HopLimit, string(o.IPv6)}
}

// seat is a guest side that notes which changes it obeys, by the operation that made them.
type seat struct {
	mu    sync.Mutex
	obeys map[string]optionsUpdate
	now   optionsUpdate
}

func (s *seat) Set(in *openimds.Instance) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = optionsIn(in)
	s.obeys[in.OptionsOperation] = s.now
	return nil
}

func (s *seat) obeyed(operation string) (optionsUpdate, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.obeys[operation]
	return o, ok
}

func (s *seat) current() optionsUpdate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// optionsModel is one instance's options as a register that updates change in part.
var optionsModel = porcupine.Model{
	Init: func() any {
		return optionsUpdate{"optional", "enabled", 1, "disabled"}
	},
	Step: func(state, input, output any) (bool, any) {
		if update, writes := input.(optionsUpdate); writes {
			return true, update.over(state.(optionsUpdate))
		}
		return state == output, state
	},
}

// TestConcurrentOptions has writers change the options of one instance through the API while others
// read them and an agent carries them to a guest side. There must be an order of the changes that
// explains every answer, and options may be called applied only when the guest side obeys them.
func TestConcurrentOptions(t *testing.T) {
	s := newServer(t)
	guest := &seat{obeys: map[string]optionsUpdate{}}
	carrier := agent.New(agent.Config{Store: s.store, Marker: s.service, Log: slog.New(slog.DiscardHandler)})
	if err := carrier.Seat(t.Context(), "demo", guest); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var background sync.WaitGroup
	defer background.Wait()
	defer stop()
	background.Go(func() { carrier.Run(ctx) })
	background.Go(func() { watchApplied(ctx, t, s.store, guest) })

	history, ids := exercise(t, s)
	if !porcupine.CheckOperations(optionsModel, history) {
		t.Errorf("no order of these requests explains their answers: %+v", history)
	}

	// What was written last is applied in the end, and all that led there has succeeded.
	var final optionsUpdate
	for state := ""; state != "applied"; {
		final, state = getOptions(s)
		time.Sleep(time.Millisecond)
	}
	if got := guest.current(); got != final {
		t.Errorf("the guest side obeys %+v, the API says that %+v is applied", got, final)
	}
	for _, id := range ids {
		op := s.must("GetOperation", `{"operationId":"`+id+`"}`)["operation"].(map[string]any)
		if op["status"] != "Succeeded" || op["isTerminal"] != true {
			t.Errorf("operation %s: %v", id, op)
		}
	}
}

// exercise sends the requests, and returns them with their answers and the operations that they made.
func exercise(t *testing.T, s *server) (history []porcupine.Operation, ids []string) {
	const writers, writes, readers, reads = 8, 20, 2, 40
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	began := time.Now()
	// do notes a request with the time in which it was under way.
	do := func(client int, input any, request func() any) {
		called := time.Since(began).Nanoseconds()
		output := request()
		returned := time.Since(began).Nanoseconds()
		mu.Lock()
		defer mu.Unlock()
		history = append(history, porcupine.Operation{ClientId: client, Input: input, Call: called, Output: output, Return: returned})
	}
	var clients sync.WaitGroup
	for w := range writers {
		random := rand.New(rand.NewPCG(seed, uint64(w)))
		clients.Go(func() {
			for range writes {
				update := randomUpdate(random)
				body, _ := json.Marshal(update)
				request := strings.Replace(`{"instanceName":"demo",`+string(body[1:]), ",}", "}", 1)
				do(w, update, func() any {
					a := s.call("UpdateInstanceMetadataOptions", request)
					var made struct{ Operation struct{ ID string } }
					if err := json.Unmarshal([]byte(a.body), &made); err != nil || a.status != http.StatusOK {
						t.Errorf("%s: %d %s", request, a.status, a.body)
					}
					mu.Lock()
					defer mu.Unlock()
					ids = append(ids, made.Operation.ID)
					return nil
				})
			}
		})
	}
	for r := range readers {
		clients.Go(func() {
			for range reads {
				do(writers+r, "read", func() any {
					options, _ := getOptions(s)
					return options
				})
			}
		})
	}
	clients.Wait()
	return history, ids
}

// getOptions reads the options and their state as the API shows them.
func getOptions(s *server) (options optionsUpdate, state string) {
	a := s.call("GetInstance", `{"instanceName":"demo"}`)
	var shown struct {
		Instance struct {
			MetadataOptions struct {
				optionsUpdate
				State string
			}
		}
	}
	if err := json.Unmarshal([]byte(a.body), &shown); err != nil {
		s.t.Errorf("%v: %s", err, a.body)
	}
	return shown.Instance.MetadataOptions.optionsUpdate, shown.Instance.MetadataOptions.State
}

// watchApplied sees in every record of the store whose options are applied that the guest side
// already obeys the change that was pending before.
func watchApplied(ctx context.Context, t *testing.T, kept store.Store, guest *seat) {
	watch := kept.Watch(records.InstancePrefix, 0)
	pending := ""
	for {
		changes, err := watch.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				t.Error(err)
			}
			return
		}
		for _, e := range changes {
			in, err := records.DecodeInstance(e)
			if err != nil {
				t.Error(err)
				return
			}
			if in.Options.State == openimds.OptionsPending {
				pending = in.OptionsOperation
				continue
			}
			if pending == "" {
				continue
			}
			if obeyed, ok := guest.obeyed(pending); !ok || obeyed != optionsIn(in) {
				t.Errorf("%+v is called applied; the guest side obeys %+v (%v)", optionsIn(in), obeyed, ok)
			}
		}
	}
}
