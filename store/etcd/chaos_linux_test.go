package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/etcd"
	"github.com/openimds/openimds/store/etcd/etcdtest"
)

// step is one call of a writer: a read, or a write of a value under the condition that another one is there. Values
// occur once, so that each stands for its revision.
type step struct {
	key      string
	write    bool
	was, is  string // of a write
	read     string // of a read
	conflict bool   // of a write: its condition did not hold
	unknown  bool   // of a write: nobody knows whether it was made
}

// register is what a key of a store is to those who read and write it.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			byKey[op.Input.(step).key] = append(byKey[op.Input.(step).key], op)
		}
		var parts [][]porcupine.Operation
		for part := range maps.Values(byKey) {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		now, s := state.(string), input.(step)
		switch {
		case !s.write:
			return now == s.read, now
		case s.conflict:
			return now != s.was, now
		case now == s.was:
			return true, s.is
		default:
			return s.unknown, now
		}
	},
}

// chronicle is what writers did.
type chronicle struct {
	mu    sync.Mutex
	steps []porcupine.Operation
	acked map[string]string // the key of each value that was acknowledged
}

func (c *chronicle) add(client int, s step, called, returned int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps = append(c.steps, porcupine.Operation{ClientId: client, Input: s, Call: called, Return: returned})
	if s.write && !s.conflict && !s.unknown {
		c.acked[s.is] = s.key
	}
}

// write reads and writes a few keys again and again, until the context ends. It returns how often nobody answered.
func (c *chronicle) write(ctx context.Context, s store.Store, client int, round int, begun time.Time) (failures int) {
	const keys, never = 3, int64(1) << 62
	for n := 0; ctx.Err() == nil; n++ {
		key := fmt.Sprintf("round/%d/%d", round, rand.IntN(keys))
		called := time.Since(begun).Nanoseconds()
		was, err := s.Get(context.Background(), key)
		returned := time.Since(begun).Nanoseconds()
		if err != nil && !errors.Is(err, store.ErrNoRecord) {
			failures++
			continue
		}
		c.add(client, step{key: key, read: string(was.Value)}, called, returned)
		change := step{key: key, write: true, was: string(was.Value), is: fmt.Sprint(round, "-", client, "-", n)}
		called = time.Since(begun).Nanoseconds()
		_, err = s.Commit(context.Background(), store.Change{Key: key, Value: []byte(change.is), If: was.Revision})
		returned = time.Since(begun).Nanoseconds()
		change.conflict = errors.Is(err, store.ErrConflict)
		if change.unknown = err != nil && !change.conflict; change.unknown {
			failures++
			returned = never
		}
		c.add(client, change, called, returned)
	}
	return failures
}

// spectator follows a store and keeps what it was told.
type spectator struct {
	told   map[string]string // the key of each value
	latest map[string]string // by key
	fault  error
}

// follow reads the watch until it has told of a key.
func (w *spectator) follow(ctx context.Context, watch store.Watcher, last string) {
	revision := int64(0)
	for {
		records, err := watch.Next(ctx)
		if err != nil {
			w.fault = err
			return
		}
		for _, r := range records {
			if r.Revision < revision {
				w.fault = fmt.Errorf("revision %d after %d", r.Revision, revision)
				return
			}
			revision = r.Revision
			if w.told[string(r.Value)] != "" {
				w.fault = fmt.Errorf("%s was told twice", r.Value)
				return
			}
			w.told[string(r.Value)], w.latest[r.Key] = r.Key, string(r.Value)
			if r.Key == last {
				return
			}
		}
	}
}

// rounds is how often there is trouble: a handful of times, or as often as is asked for.
func rounds(t *testing.T, handful int) int {
	if text := os.Getenv("OPENIMDS_TEST_ROUNDS"); text != "" {
		return must(strconv.Atoi(text))(t)
	}
	return handful
}

// TestMembersFail has members of a cluster killed and halted under eight writers: no acknowledged write is lost, no read
// is stale, and watches are told of every write once.
func TestMembersFail(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 3)
	underTrouble(t, c, false, rounds(t, 4), func(round int) {
		member := c.Members[rand.IntN(len(c.Members))]
		if round%2 == 0 {
			member.Kill()
			time.Sleep(rand.N(1500 * time.Millisecond)) // some longer than an election
			member.Start()
		} else {
			member.Pause()
			time.Sleep(rand.N(3 * time.Second))
			member.Resume()
		}
	})
}

// underTrouble has eight write to a cluster, in so many rounds, while trouble makes some in each and takes it away again.
func underTrouble(t *testing.T, c *etcdtest.Cluster, insecure bool, rounds int, trouble func(round int)) {
	t.Helper()
	var stores [4]*etcd.Store
	for i := range stores {
		impatient := etcd.Config{Address: address(t, etcd.Scheme+c.Addresses()), Timeout: 2 * time.Second, Insecure: insecure}
		until(t, "it opens", func() (ok bool) { stores[i], ok = got(etcd.Open(t.Context(), impatient)); return ok })
		defer stores[i].Close()
	}
	ctx, done := context.WithTimeout(t.Context(), time.Duration(rounds)*patience)
	defer done()
	var spectators [2]*spectator
	var watching sync.WaitGroup
	for i := range spectators {
		w := &spectator{told: map[string]string{}, latest: map[string]string{}}
		spectators[i] = w
		watch := stores[i].Watch("", all(t, stores[i]).Revision)
		watching.Go(func() { w.follow(ctx, watch, "last") })
	}
	story, begun, failures := &chronicle{acked: map[string]string{}}, time.Now(), 0
	for round := range rounds {
		failures += story.round(t, c, stores[:], round, begun, trouble)
	}
	until(t, "the end is written", func() bool {
		_, err := stores[0].Commit(ctx, store.Change{Key: "last", Value: []byte("end"), If: store.Whatever})
		return err == nil
	})
	watching.Wait()
	if result := porcupine.CheckOperationsTimeout(register, story.steps, 0); result != porcupine.Ok {
		t.Errorf("what was read and written is not linearizable: %s", result)
	}
	if len(story.acked) == 0 {
		t.Error("nothing was written")
	}
	for i, w := range spectators {
		if w.fault != nil {
			t.Errorf("watch %d: %v", i, w.fault)
		}
		for value, key := range story.acked {
			if w.told[value] != key {
				t.Errorf("watch %d was not told of %s=%s", i, key, value)
			}
		}
		for _, r := range all(t, stores[i]).Records {
			if w.latest[r.Key] != string(r.Value) && r.Key != "last" {
				t.Errorf("watch %d has %s=%s, the store %s", i, r.Key, w.latest[r.Key], r.Value)
			}
		}
	}
	t.Logf("%d rounds in %s: %d calls, %d writes acknowledged, %d calls without an answer", rounds, time.Since(begun).Round(time.Second), len(story.steps), len(story.acked), failures)
}

// all lists a store whose requests have little time.
func all(t *testing.T, s store.Store) (page store.Page) {
	t.Helper()
	until(t, "it lists", func() (ok bool) { page, ok = got(s.List(t.Context(), store.Range{})); return ok })
	return page
}

// round has trouble come and go while eight write, and all members be there again at its end.
func (c *chronicle) round(t *testing.T, cluster *etcdtest.Cluster, stores []*etcd.Store, round int, begun time.Time, trouble func(round int)) (failures int) {
	const writers = 8
	ctx, stop := context.WithCancel(t.Context())
	counts := make(chan int, writers)
	for client := range writers {
		go func() { counts <- c.write(ctx, stores[client%len(stores)], client, round, begun) }()
	}
	time.Sleep(rand.N(200 * time.Millisecond))
	trouble(round)
	for _, member := range cluster.Members {
		member.Await()
	}
	time.Sleep(rand.N(200 * time.Millisecond))
	stop()
	for range writers {
		failures += <-counts
	}
	return failures
}
