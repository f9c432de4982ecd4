package usage_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
)

func program(i int) openimds.CallerProcess {
	return openimds.CallerProcess{Executable: fmt.Sprintf("/usr/bin/p%d", i), Arguments: []string{"p", "-x"}, User: "root", Unit: "a.service"}
}

// byProcess sums up what processes called without a token and with one; of those that were not seen it is under "".
func byProcess(t *testing.T, r *usage.Meter, since time.Time) map[string][2]int64 {
	t.Helper()
	sums := map[string][2]int64{}
	for _, c := range callersOf(t, r, since) {
		name := ""
		if c.Process != nil {
			name = c.Process.Executable
		}
		sum := sums[name]
		sum[0] += openimds.V1Calls(c.Counts)
		sum[1] += c.Counts[openimds.MetricWithToken]
		sums[name] = sum
		if len(c.Counts) == 0 {
			t.Errorf("a row of nothing: %+v", c)
		}
	}
	return sums
}

// What processes called is told apart, what was not seen in time is told too, and all together is what was called: at
// any time, also after a restart.
func TestProcesses(t *testing.T) {
	c := newClock()
	kept := mem.New()
	r := newRecorder(kept, c)
	g := r.Guest(id, "web-1")
	random := rand.New(rand.NewPCG(1, 2))
	type called struct {
		at   time.Time
		who  string
		call usage.Call
	}
	var all []called
	for step := range 6000 {
		i := random.IntN(5)
		call := []usage.Call{usage.NoToken, usage.WithToken}[i%2]
		one := called{c.now(), "", call}
		who := g.Count(call, source, path, agent, c.now())
		if i < 4 && random.IntN(3) > 0 {
			who.Is(program(i), call, c.now())
			one.who = program(i).Executable
		}
		all = append(all, one)
		c.forward(time.Duration(random.ExpFloat64() * float64(20*time.Minute)))
		if step%1500 == 1499 {
			flush(t, r)
			r = newRecorder(kept, c)
			g = r.Guest(id, "web-1")
		}
	}
	for _, since := range []time.Time{{}, c.now().Add(-time.Hour), c.now().Add(-26 * time.Hour), c.now().Add(-9 * day), c.now().Add(-40 * day)} {
		got := byProcess(t, r, since)
		// The calls begin at the same time for all; it is as exact as windows are.
		begins := since
		for _, one := range callersOf(t, r, since) {
			if !since.IsZero() && one.CountedSince.Before(begins) {
				begins = one.CountedSince
			}
		}
		want := map[string][2]int64{}
		for _, one := range all {
			if !one.at.Before(begins) {
				sum := want[one.who]
				sum[map[usage.Call]int{usage.NoToken: 0, usage.WithToken: 1}[one.call]]++
				want[one.who] = sum
			}
		}
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("since %v: %q called %v, not %v", since, name, got[name], want[name])
			}
		}
	}
}

// However many processes there are, and whatever their command lines, the record stays small and nothing is counted twice.
func TestProcessesAreBounded(t *testing.T) {
	for name, p := range map[string]func(i int) openimds.CallerProcess{
		"programs": program,
		"command lines": func(i int) openimds.CallerProcess {
			return openimds.CallerProcess{Executable: "/usr/bin/curl", Arguments: []string{"curl", fmt.Sprint(i)}}
		},
		"long ones": func(i int) openimds.CallerProcess {
			return openimds.CallerProcess{Executable: "/" + strings.Repeat("x", 400), Arguments: []string{strings.Repeat("é", 5000), fmt.Sprint(i)}, Unit: fmt.Sprint(i)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			kept := mem.New()
			r := newRecorder(kept, c)
			g := r.Guest(id, "web-1")
			const calls = 1000
			for i := range calls {
				g.Count(usage.NoToken, source, path, agent, c.now()).Is(p(i), usage.NoToken, c.now())
			}
			flush(t, r)
			largest, _ := stored(t, kept, storedCallers)
			t.Logf("%d bytes, %d rows", largest, len(callersOf(t, r, time.Time{})))
			if largest > 8<<10+24<<10+12<<10+16<<10 {
				t.Errorf("the record has %d bytes", largest)
			}
			for _, r := range []*usage.Meter{r, newRecorder(kept, c)} {
				sum := int64(0)
				for _, n := range byProcess(t, r, time.Time{}) {
					sum += n[0]
				}
				if sum != calls {
					t.Errorf("%d calls of %d", sum, calls)
				}
			}
			// All is forgotten in time, so that there is room for others.
			c.forward(64 * day)
			if err := r.Prune(t.Context()); err != nil {
				t.Fatal(err)
			}
			g.Count(usage.NoToken, source, path, agent, c.now()).Is(program(7), usage.NoToken, c.now())
			if got := byProcess(t, r, time.Time{}); len(got) != 1 || got["/usr/bin/p7"][0] != 1 {
				t.Errorf("later: %v", got)
			}
		})
	}
}

// A token that was lost is its process's if there is one alone.
func TestProcessWhoseTokenIsLost(t *testing.T) {
	c := newClock()
	r := newRecorder(mem.New(), c)
	g := r.Guest(id, "web-1")
	g.Count(usage.TokenIssued, source, nil, agent, c.now()).Is(program(1), usage.TokenIssued, c.now())
	g.Undelivered(source, agent, 1, 2, c.now())
	if all := callersOf(t, r, time.Time{}); len(all) != 1 || all[0].Process == nil || all[0].Undelivered == nil || all[0].Counts[openimds.MetricTokenUndelivered] != 1 {
		t.Errorf("%+v", all)
	}
	g.Count(usage.TokenIssued, source, nil, agent, c.now()).Is(program(2), usage.TokenIssued, c.now())
	for _, one := range callersOf(t, r, time.Time{}) {
		if (one.Process == nil) != (one.Undelivered != nil) {
			t.Errorf("%+v", one)
		}
	}
}
