package bolt

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/openimds/openimds/store"
	"go.etcd.io/bbolt"
)

// statesEnv sets how many states of the disk TestPowerCut opens; a soak sets more.
const statesEnv = "OPENIMDS_TEST_STATES"

// TestPowerCut records what a store asks of the disk, from its first moment on, and opens what the disk
// may have kept of it if the power went at any point: the store opens, holds every acknowledged commit
// and none by half, and goes on.
func TestPowerCut(t *testing.T) {
	states := 300
	if testing.Short() {
		states = 200
	}
	if n, err := strconv.Atoi(os.Getenv(statesEnv)); err == nil {
		states = n
	}
	dir := inMemory(t)
	calls := trace(t, dir, countingWriter(filepath.Join(dir, "store")))
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	d, acknowledged, opened := newDisk(), 0, 0
	scratch := inMemory(t)
	for i, c := range calls {
		if c.verb == "said" {
			acknowledged++
		} else {
			d.do(c, dir)
		}
		for ; opened < states*(i+1)/len(calls); opened++ {
			into := filepath.Join(scratch, strconv.Itoa(opened))
			if err := os.Mkdir(into, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := d.fail(random, dir, into); err != nil {
				t.Fatal(err)
			}
			if err := holds(filepath.Join(into, "store"), acknowledged); err != nil {
				t.Fatalf("state %d (seed %d), after call %d of %d and %d acknowledged commits: %v", opened, seed, i, len(calls), acknowledged, err)
			}
			if err := os.RemoveAll(into); err != nil {
				t.Fatal(err)
			}
		}
	}
	if acknowledged != countedCommits {
		t.Errorf("%d commits were acknowledged, want %d: the trace is not whole", acknowledged, countedCommits)
	}
	t.Logf("%d states of the disk at %d calls, %d acknowledged commits", opened, len(calls), acknowledged)
}

// inMemory makes a directory where durability costs nothing, since a test plays the disk.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "openimds")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// TestKilledAtACall kills a writer at each of its writes to the disk, one after the other, and at what
// makes them durable, its first ones among them.
func TestKilledAtACall(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("skipped: strace is not installed")
	}
	step := 25 // every one takes minutes
	if os.Getenv(statesEnv) != "" {
		step = 1
	}
	killed := 0
	for _, name := range []string{"pwrite64", "fdatasync", "fsync", "ftruncate", "linkat"} {
		for n, alive := 1, false; !alive && n < 400; n += step {
			path := filepath.Join(inMemory(t), "store")
			cmd := countingWriter(path)
			cmd.Args = append([]string{strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace=" + name, "-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", name, n), cmd.Path}, cmd.Args[1:]...)
			cmd.Path = strace
			out, err := cmd.Output()
			if alive = err == nil; !alive {
				killed++
			}
			if err := holds(path, strings.Count(string(out), "\n")); err != nil {
				t.Fatalf("killed at call %d of %s, after %q: %v", n, name, out, err)
			}
		}
	}
	if killed < 10 {
		t.Skipf("skipped: only %d writers were killed; this user may not trace processes", killed)
	}
	t.Logf("%d writers were killed", killed)
}

// holds opens the store and looks whether it holds the acknowledged commits, or one more, and nothing
// else, and takes the next.
func holds(path string, acknowledged int) error {
	s, err := Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	page, err := s.List(context.Background(), store.Range{})
	if err != nil {
		return err
	}
	is := map[string]string{}
	for _, r := range page.Records {
		is[r.Key] = string(r.Value)
	}
	differs := ""
	for last := acknowledged; last <= min(acknowledged+1, countedCommits); last++ {
		if differs = difference(after()[last], is); differs == "" {
			err := s.db.View(func(tx *bbolt.Tx) error {
				for err := range tx.Check() {
					return err
				}
				return nil
			})
			if err != nil {
				return err
			}
			_, err = s.Commit(context.Background(), counted(last)...)
			return err
		}
	}
	return fmt.Errorf("it holds neither %d commits nor one more: %s", acknowledged, differs)
}
