package ec2query

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// TestLargeForms: the largest body, made so that it becomes as much as it can, takes a bounded part of the memory, and is
// refused: whoever has a key that may only look could send many at once.
func TestLargeForms(t *testing.T) {
	var deep strings.Builder
	for n := 0; deep.Len() < 1<<20; n++ {
		fmt.Fprintf(&deep, "%x.a.a.a.a.a.a.a.a.a=&", n)
	}
	for name, body := range map[string]string{"many names": strings.Repeat("a=&b=&c=&", 1<<20/9), "nested names": deep.String(), "names": manyNames(maxParts + 1)} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse([]byte(body))
		runtime.ReadMemStats(&after)
		if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 24 {
			t.Errorf("%s: a body of 1 MiB takes %d MiB", name, took)
		}
		if err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
	if _, err := Parse([]byte(manyNames(maxParts))); err != nil {
		t.Error(err)
	}
}

func manyNames(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%x=&", i)
	}
	return b.String()
}
