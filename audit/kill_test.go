//go:build unix

package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/bolt"
)

// changerEnv makes this test binary a program that changes instances until it is killed, with its data
// in the directory it names.
const changerEnv = "OPENIMDS_TEST_CHANGER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(changerEnv); dir != "" {
		fmt.Println("error", change(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// service opens what is in a directory, as "openimds serve" does at its start.
func service(dir string) (*control.Service, store.Store, *Log, error) {
	store, err := bolt.Open(filepath.Join(dir, "store"))
	if err != nil {
		return nil, nil, nil, err
	}
	l, latest, err := Open(Config{Path: filepath.Join(dir, "audit.log"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, nil, err
	}
	s := control.New(store, control.Config{Region: "us-east-1", AccountID: "123456789012", Audit: l.Record})
	return s, store, l, s.ConcludeAudit(context.Background(), latest)
}

// change prints the id of each operation once it is acknowledged. Some writers share an instance, and
// all options are marked as applied, which has no operation.
func change(dir string) error {
	s, _, _, err := service(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if _, err := s.EnsureInstance(ctx, "shared"); err != nil {
		return err
	}
	for n := range 3 {
		l := control.InstancesLaunch{Names: []string{fmt.Sprint("own-", n)}, Zone: "us-east-1a", BlueprintID: "debian_12", BundleID: "nano_3_0"}
		if _, err := s.CreateInstances(ctx, l); err != nil && openimds.CodeOf(err) != openimds.NameTaken {
			return err
		}
	}
	failed := make(chan error)
	var out sync.Mutex
	for n := range 6 {
		name := "shared"
		if n < 3 {
			name = fmt.Sprint("own-", n)
		}
		go func() {
			for i := 0; ; i++ {
				op, err := s.UpdateOptions(ctx, name, openimds.OptionsUpdate{HopLimit: new(1 + (i+n)%64)})
				if err == nil {
					out.Lock()
					fmt.Println(op.ID)
					out.Unlock()
					in, ierr := s.Instance(ctx, name)
					if err = ierr; err == nil {
						err = s.MarkApplied(ctx, in)
					}
				}
				if err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return <-failed
}

// TestKill kills a changing process at random moments. Whatever the store holds has its line, what was
// acknowledged is not taken back, and what the store does not hold is.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short leaves out killing a process again and again")
	}
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	rounds := 0
	for ; rounds < 15 || len(acknowledged) < 20 && rounds < 100; rounds++ { // a busy machine makes few at a time
		for _, id := range killedChanger(t, dir, time.Duration(5+rand.IntN(60))*time.Millisecond) {
			acknowledged[id] = true
		}
	}
	s, store, l, err := service(dir)
	must(t, err)
	lines := map[string][]string{} // by change: the failures that were told, "" for none
	torn := 0
	for e, err := range Read(filepath.Join(dir, "audit.log")) {
		if errors.Is(err, ErrDamaged) { // the kill came in the midst of a line, and of nothing that it tells was anything made
			torn++
			continue
		}
		must(t, err)
		if e.What == "UpdateInstanceMetadataOptions" {
			lines[e.Change] = append(lines[e.Change], e.Failure)
		}
	}
	if torn > rounds {
		t.Errorf("%d lines cannot be read after %d kills", torn, rounds)
	}
	if len(acknowledged) < 20 {
		t.Errorf("only %d changes were made: the test shows nothing", len(acknowledged))
	}
	operations, after := map[string]bool{}, ""
	for {
		page, next, err := s.Operations(t.Context(), after, 1000)
		must(t, err)
		for _, op := range page {
			operations[op.ID] = op.Type == "UpdateInstanceMetadataOptions"
		}
		if after = next; next == "" {
			break
		}
	}
	for id := range acknowledged {
		if !operations[id] {
			t.Errorf("%s was acknowledged and is not there", id)
		}
	}
	made := 0
	for id, ours := range operations {
		if ours && (len(lines[id]) != 1 || lines[id][0] != "") {
			t.Errorf("%s was made and is told as %q", id, lines[id])
		}
		made++
	}
	takenBack := 0
	for id, told := range lines {
		if operations[id] {
			continue
		}
		takenBack++
		if len(told) < 2 || told[0] != "" || !strings.HasPrefix(told[1], "not made: ") {
			t.Errorf("%s was not made and is told as %q", id, told)
		}
	}
	t.Logf("%d acknowledged, %d made, %d taken back", len(acknowledged), made, takenBack)
	must(t, l.Close())
	must(t, store.Close())
}

// killedChanger returns the changes that a process acknowledged before it was killed.
func killedChanger(t *testing.T, dir string, life time.Duration) (acknowledged []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), changerEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	defer time.AfterFunc(3*time.Minute, func() { _ = cmd.Process.Kill() }).Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if acknowledged == nil {
			time.AfterFunc(life, func() { _ = cmd.Process.Kill() })
		}
		if strings.HasPrefix(lines.Text(), "error") {
			t.Error(lines.Text())
		}
		acknowledged = append(acknowledged, lines.Text())
	}
	_ = cmd.Wait() // it was killed
	return acknowledged
}
