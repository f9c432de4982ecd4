package bolt

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds/store"
)

// writerEnv makes this test binary a program that writes to the store it names until it is killed.
const writerEnv = "OPENIMDS_TEST_WRITER"

// killsEnv sets how often TestKill kills; a soak sets more.
const killsEnv = "OPENIMDS_TEST_KILLS"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		writeForEver(path)
		return
	}
	if path := os.Getenv(countedEnv); path != "" {
		writeCounted(path)
		return
	}
	os.Exit(m.Run())
}

// writeForEver prints the key of each commit once it is acknowledged.
func writeForEver(path string) {
	s, err := Open(path)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	page, err := s.List(context.Background(), store.Range{})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var out sync.Mutex
	for writer := range 4 {
		go func() {
			for i := page.Revision; ; i++ {
				key := fmt.Sprintf("k/%d-%d", writer, i)
				if _, err := s.Commit(context.Background(), store.Change{Key: key, Value: []byte(key), If: store.IfAbsent}); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				out.Lock()
				fmt.Println(key)
				out.Unlock()
			}
		}()
	}
	select {}
}

// TestKill kills a writing process at random moments: no acknowledged commit may be missing, and the
// store must open at once.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short leaves out killing a writer again and again")
	}
	kills := 25
	if n, err := strconv.Atoi(os.Getenv(killsEnv)); err == nil {
		kills = n
	}
	path := filepath.Join(t.TempDir(), "store")
	acknowledged := make(map[string]bool)
	for i := range kills {
		// Every other writer is killed wherever it is, which may be before its first commit.
		for _, key := range killedWriter(t, path, time.Duration(5+rand.IntN(60))*time.Millisecond, i%2 == 0) {
			acknowledged[key] = true
		}
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		page, err := s.List(t.Context(), store.Range{Prefix: "k/"})
		if err != nil {
			t.Fatal(err)
		}
		there := make(map[string]bool)
		for _, r := range page.Records {
			there[r.Key] = string(r.Value) == r.Key
		}
		for key := range acknowledged {
			if !there[key] {
				t.Errorf("the acknowledged %s is lost", key)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acknowledged) == 0 {
		t.Error("no commit was acknowledged in any round: the test tried nothing")
	}
	t.Logf("%d kills, %d acknowledged commits", kills, len(acknowledged))
}

// killedWriter runs a writer for a while, from its start or from its first acknowledgement on.
func killedWriter(t *testing.T, path string, while time.Duration, fromStart bool) (keys []string) {
	t.Helper()
	writer := exec.Command(os.Args[0])
	writer.Env = append(os.Environ(), writerEnv+"="+path)
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() { time.AfterFunc(while, func() { _ = writer.Process.Kill() }) }
	if fromStart {
		end()
	}
	lines := bufio.NewReader(out)
	for line, err := lines.ReadString('\n'); err == nil; line, err = lines.ReadString('\n') { // what is cut off is no word
		if !fromStart && keys == nil {
			end()
		}
		key := strings.TrimSpace(line)
		if strings.HasPrefix(key, "error") {
			t.Errorf("the writer failed: %s", key)
			continue
		}
		keys = append(keys, key)
	}
	_ = writer.Wait()
	return keys
}
