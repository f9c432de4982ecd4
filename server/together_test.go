package server

import (
	"sync"
	"testing"
	"testing/synctest"
)

// TestTogether: a hundred who ask while somebody's look is under way have one look together, which begins after they asked.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all together
		var asking sync.WaitGroup
		end := make(chan struct{})
		asking.Go(func() {
			if got := all.ask(func() string { <-end; return "first" }); got != "first" {
				t.Errorf("the first was told %q", got)
			}
		})
		synctest.Wait()
		looks := 0
		for range 100 {
			asking.Go(func() {
				if got := all.ask(func() string { looks++; return "second" }); got != "second" {
					t.Errorf("one was told %q", got)
				}
			})
		}
		synctest.Wait() // all of them wait
		close(end)
		asking.Wait()
		if looks != 1 {
			t.Errorf("a hundred looked %d times", looks)
		}
		if got := all.ask(func() string { return "third" }); got != "third" {
			t.Errorf("later, %q was told", got)
		}
	})
}
