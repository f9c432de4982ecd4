package bolt

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/openimds/openimds/store"
)

// countedEnv makes this test binary a program that makes countedCommits commits, known to everyone, in
// the store that it names.
const (
	countedEnv     = "OPENIMDS_TEST_COUNTED"
	countedCommits = 45
)

func countingWriter(path string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), countedEnv+"="+path)
	return cmd
}

// writeCounted prints a line for each commit once it is acknowledged.
func writeCounted(path string) {
	s, err := Open(path)
	for i := 0; err == nil && i < countedCommits; i++ {
		if _, err = s.Commit(context.Background(), counted(i)...); err == nil {
			fmt.Println(i)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// counted is the commit of that number: always of two records, so that halves are seen.
func counted(i int) []store.Change {
	const keys = 7
	size := []int{10, 400, 5_000, 70_000}[i%4]
	word := fmt.Sprintf("%d,", i)
	value := []byte(strings.Repeat(word, size/len(word)+1)[:size])
	changes := []store.Change{
		{Key: fmt.Sprintf("a/%d", i%keys), Value: value, If: store.Whatever},
		{Key: fmt.Sprintf("b/%d", i%keys), Value: value, If: store.Whatever},
	}
	if i%5 == 4 {
		for _, kind := range []string{"a", "b"} {
			changes = append(changes, store.Change{Verb: store.Delete, Key: fmt.Sprintf("%s/%d", kind, (i+3)%keys), If: store.Whatever})
		}
	}
	return changes
}

// after is what a store holds after each number of commits.
var after = sync.OnceValue(func() (all [countedCommits + 1]map[string]string) {
	all[0] = map[string]string{}
	for i := range countedCommits {
		all[i+1] = maps.Clone(all[i])
		for _, c := range counted(i) {
			if all[i+1][c.Key] = string(c.Value); c.Verb == store.Delete {
				delete(all[i+1], c.Key)
			}
		}
	}
	return all
})

func difference(want, is map[string]string) string {
	for key := range is {
		if _, ok := want[key]; !ok {
			return key + " should not be there"
		}
	}
	for key, value := range want {
		if is[key] != value {
			return fmt.Sprintf("%s is %.20q, not %.20q", key, is[key], value)
		}
	}
	return ""
}
