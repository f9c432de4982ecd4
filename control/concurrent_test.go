package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/bolt"
	"github.com/openimds/openimds/store/mem"
)

// stores are those that concurrent writers are tested on: the quick one, and the one whose commits
// wait for a disk.
func stores(t *testing.T) map[string]store.Store {
	t.Helper()
	bolt, err := bolt.Open(filepath.Join(t.TempDir(), "openimds.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bolt.Close(); err != nil {
			t.Error(err)
		}
	})
	return map[string]store.Store{"memory": mem.New(), "bolt": bolt}
}

// twoServices share a store, as two processes do.
func twoServices(store store.Store) [2]*control.Service {
	cfg := control.Config{Region: "us-east-1", AccountID: "123456789012", AllowIMDSIPv6: true}
	return [2]*control.Service{control.New(store, cfg), control.New(store, cfg)}
}

func randomUpdate(random *rand.Rand) openimds.OptionsUpdate {
	var u openimds.OptionsUpdate
	modes := []openimds.EndpointMode{openimds.EndpointEnabled, openimds.EndpointDisabled}
	if random.IntN(2) == 0 {
		u.Tokens = &[]openimds.TokensMode{openimds.TokensOptional, openimds.TokensRequired}[random.IntN(2)]
	}
	if random.IntN(2) == 0 {
		u.Endpoint = &modes[random.IntN(2)]
	}
	if random.IntN(2) == 0 {
		u.HopLimit = new(1 + random.IntN(64))
	}
	if random.IntN(2) == 0 {
		u.IPv6 = &modes[random.IntN(2)]
	}
	return u
}

func bare(o openimds.MetadataOptions) openimds.MetadataOptions {
	o.State = ""
	return o
}

// optionsModel is what the options of one instance are to a client: an update changes the members
// that it names, and a read tells what there is.
func optionsModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return bare(openimds.DefaultOptions()) },
		Step: func(state, input, output any) (bool, any) {
			now := state.(openimds.MetadataOptions)
			if u, isWrite := input.(openimds.OptionsUpdate); isWrite {
				return true, u.Apply(now)
			}
			return output == now, now
		},
		Equal:             func(a, b any) bool { return a == b },
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v → %+v", input, output) },
	}
}

// TestLinearizable has eight writers and two readers use one instance through two services, while
// what they change is marked as applied. Each client must see a history that some order explains in
// which nothing happens before it was asked for or after it was answered.
func TestLinearizable(t *testing.T) {
	for name, store := range stores(t) {
		t.Run(name, func(t *testing.T) {
			services := twoServices(store)
			if _, err := services[0].EnsureInstance(t.Context(), "web"); err != nil {
				t.Fatal(err)
			}
			const clients, rounds = 10, 25
			begin := time.Now()
			history := make([][]porcupine.Operation, clients)
			var running sync.WaitGroup
			for client := range clients {
				service, random := services[client%2], rand.New(rand.NewPCG(7, uint64(client)))
				running.Go(func() {
					for range rounds {
						op := porcupine.Operation{ClientId: client, Call: time.Since(begin).Nanoseconds()}
						var err error
						if client < 8 {
							u := randomUpdate(random)
							op.Input = u
							_, err = service.UpdateOptions(t.Context(), "web", u)
						} else {
							var in *openimds.Instance
							if in, err = service.Instance(t.Context(), "web"); err == nil {
								op.Output = bare(in.Options)
								err = service.MarkApplied(t.Context(), in)
							}
						}
						op.Return = time.Since(begin).Nanoseconds()
						if err != nil {
							t.Error(err)
							return
						}
						history[client] = append(history[client], op)
					}
				})
			}
			running.Wait()
			switch porcupine.CheckOperationsTimeout(optionsModel(), slices.Concat(history...), patience) {
			case porcupine.Illegal:
				t.Error("no order of the operations explains what the clients saw")
			case porcupine.Unknown:
				t.Error("whether an order explains the history was not found out in time")
			}
		})
	}
}

// TestThousandWriters: a thousand clients change one instance at the same moment. All get through,
// and the store's own history shows that each change was made to what the one before it had left.
func TestThousandWriters(t *testing.T) {
	for name, kept := range stores(t) {
		t.Run(name, func(t *testing.T) {
			const writers = 1000
			ctx := t.Context()
			services := twoServices(kept)
			in, err := services[0].EnsureInstance(ctx, "web")
			if err != nil {
				t.Fatal(err)
			}
			page, err := kept.List(ctx, store.Range{Limit: 1})
			if err != nil {
				t.Fatal(err)
			}
			random := rand.New(rand.NewPCG(3, 3))
			asked := map[string]openimds.OptionsUpdate{}
			var mu sync.Mutex
			var writing sync.WaitGroup
			ready := make(chan struct{})
			for writer := range writers {
				u := randomUpdate(random)
				writing.Go(func() {
					<-ready
					op, err := services[writer%2].UpdateOptions(ctx, "web", u)
					mu.Lock()
					defer mu.Unlock()
					if asked[records.OperationKey(op.ID)] = u; err != nil {
						t.Error(err)
					}
				})
			}
			close(ready)
			writing.Wait()
			if len(asked) != writers || t.Failed() {
				t.Fatalf("%d operations of %d", len(asked), writers)
			}
			left := replay(t, kept.Watch("", page.Revision), asked, in.Options)
			if got, err := services[1].Instance(ctx, "web"); err != nil || bare(got.Options) != left {
				t.Errorf("at the end there is %+v, %v; the history leads to %+v", got.Options, err, left)
			}
		})
	}
}

// replay follows the commits and does to options what each commit's operation was asked to do.
func replay(t *testing.T, watch store.Watcher, asked map[string]openimds.OptionsUpdate, options openimds.MetadataOptions) openimds.MetadataOptions {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	now := bare(options)
	for done := 0; done < len(asked); {
		events, err := watch.Next(ctx)
		if err != nil {
			t.Fatalf("after %d of %d operations: %v", done, len(asked), err)
		}
		for len(events) > 0 {
			n := slices.IndexFunc(events, func(e store.Record) bool { return e.Revision != events[0].Revision })
			if n < 0 {
				n = len(events)
			}
			var update openimds.OptionsUpdate
			var record struct{ Data *openimds.Instance }
			for _, e := range events[:n] {
				if strings.HasPrefix(e.Key, records.OperationPrefix) {
					update = asked[e.Key]
					done++
				}
				if e.Key == records.InstancePrefix+"web" {
					if err := json.Unmarshal(e.Value, &record); err != nil {
						t.Fatal(err)
					}
				}
			}
			// An update that found nothing to change writes only its operation, and stands where it
			// looked, not where it wrote.
			if record.Data != nil {
				if now = update.Apply(now); bare(record.Data.Options) != now {
					t.Fatalf("revision %d left %+v, its operation leads to %+v", events[0].Revision, record.Data.Options, now)
				}
			}
			events = events[n:]
		}
	}
	return now
}

// TestSameName: of all that want one new name at the same moment, whatever they want to make, exactly
// one gets it, and the others leave nothing behind.
func TestSameName(t *testing.T) {
	for name, store := range stores(t) {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			services := twoServices(store)
			if _, err := services[0].EnsureInstance(ctx, "first"); err != nil {
				t.Fatal(err)
			}
			if _, err := services[0].ImportKeyPair(ctx, "some-key", ed25519Key); err != nil {
				t.Fatal(err)
			}
			if _, err := services[0].CreateInstances(ctx, launch("first-0", "first-1", "first-2", "first-3")); err != nil {
				t.Fatal(err)
			}
			for round := range 20 {
				same := fmt.Sprint("same-", round)
				contenders := []call{
					func(ctx context.Context, s *control.Service) error {
						_, err := s.AllocateStaticIP(ctx, same)
						return err
					},
					func(ctx context.Context, s *control.Service) error {
						_, err := s.AllocateStaticIP(ctx, same)
						return err
					},
					func(ctx context.Context, s *control.Service) error {
						_, err := s.ImportKeyPair(ctx, same, ed25519Key)
						return err
					},
					func(ctx context.Context, s *control.Service) error {
						_, err := s.ImportKeyPair(ctx, same, ed25519Key)
						return err
					},
					func(ctx context.Context, s *control.Service) error {
						_, err := s.PutAlarm(ctx, same, alarmOfMetric(round), nil)
						return err
					},
				}
				for other := range 3 {
					contenders = append(contenders, func(ctx context.Context, s *control.Service) error {
						l := launch(fmt.Sprint("beside-", round, "-", other), same)
						l.KeyPairName = "some-key"
						_, err := s.CreateInstances(ctx, l)
						return err
					})
				}
				errs := make([]error, len(contenders))
				var running sync.WaitGroup
				for i, do := range contenders {
					running.Go(func() { errs[i] = do(ctx, services[i%2]) })
				}
				running.Wait()
				won := 0
				for _, err := range errs {
					if err == nil {
						won++
					} else if e, ok := errors.AsType[*openimds.Error](err); !ok || e.Code != openimds.NameTaken || e.Message() != "These names are taken: "+same {
						t.Errorf("a loser is told: %v", err)
					}
				}
				names, _, err := services[0].Names(ctx, "", 0)
				have := len(slices.DeleteFunc(names, func(n string) bool { return n != same }))
				beside, _, err2 := services[0].Names(ctx, "", 0)
				beside = slices.DeleteFunc(beside, func(n string) bool { return !strings.HasPrefix(n, fmt.Sprint("beside-", round, "-")) })
				instanceWon := slices.Contains(errs[5:], nil)
				if won != 1 || have != 1 || err != nil || err2 != nil || len(beside) == 1 != instanceWon {
					t.Fatalf("round %d: %d won, %d have the name, beside it are %v, %v", round, won, have, beside, errors.Join(err, err2))
				}
			}
		})
	}
}

// alarmOfMetric spreads the alarms of twenty rounds, because a metric of an instance has two at most.
func alarmOfMetric(round int) openimds.AlarmConfig {
	c := alarmOf(fmt.Sprint("first-", round/5))
	c.Metric = []string{"StatusCheckFailed", "StatusCheckFailed_Instance", "StatusCheckFailed_System", openimds.MetricNoToken, openimds.MetricNoTokenRejected}[round%5]
	return c
}

// TestTagsTogether: writers of different tags never undo each other.
func TestTagsTogether(t *testing.T) {
	for name, store := range stores(t) {
		t.Run(name, func(t *testing.T) {
			services := twoServices(store)
			if _, err := services[0].EnsureInstance(t.Context(), "web"); err != nil {
				t.Fatal(err)
			}
			var writing sync.WaitGroup
			for writer := range 40 {
				writing.Go(func() {
					if _, err := services[writer%2].TagResource(t.Context(), "web", "", tags(fmt.Sprint("key", writer), "")); err != nil {
						t.Error(err)
					}
				})
			}
			writing.Wait()
			if in, err := services[0].Instance(t.Context(), "web"); err != nil || len(in.Tags) != 40 {
				t.Errorf("%d tags of 40, %v", len(in.Tags), err)
			}
		})
	}
}

// TestDurable: what the service has answered is there when the store is opened again.
func TestDurable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "openimds.db")
	var before map[string]string
	for life := range 3 {
		store, err := bolt.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if now := contents(t, store); life > 0 && fmt.Sprint(now) != fmt.Sprint(before) {
			t.Errorf("in life %d the store has\n%v, the one before left\n%v", life, now, before)
		}
		s := twoServices(store)[0]
		if _, err := s.EnsureInstance(t.Context(), "web"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.UpdateOptions(t.Context(), "web", openimds.OptionsUpdate{HopLimit: new(2 + life)}); err != nil {
			t.Fatal(err)
		}
		before = contents(t, store)
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
