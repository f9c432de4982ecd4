package migrate

import (
	"context"
	"sync"
	"time"
)

// Assess looks at one instance.
func Assess(ctx context.Context, p Provider, in Instance, c Criteria, now time.Time) Assessment {
	all := []Assessment{assess(ctx, p, in, c, now)}
	heed(ctx, p, []Instance{in}, all)
	return all[0]
}

func assess(ctx context.Context, p Provider, in Instance, c Criteria, now time.Time) Assessment {
	calls, err := p.Calls(ctx, in, now.Add(-c.Window))
	return c.Judge(in, calls, err, now)
}

// atOnce is how many instances are looked at at the same time.
const atOnce = 8

// Status assesses the instances, in their order.
func Status(ctx context.Context, p Provider, instances []Instance, c Criteria, now time.Time) []Assessment {
	all := make([]Assessment, len(instances))
	turns := make(chan struct{}, atOnce)
	var working sync.WaitGroup
	for i, in := range instances {
		turns <- struct{}{}
		working.Go(func() {
			all[i] = assess(ctx, p, in, c, now)
			<-turns
		})
	}
	working.Wait()
	heed(ctx, p, instances, all)
	return all
}

// listener is a provider that knows whose guests are answered.
type listener interface {
	// Unheard tells of those of the instances whose guests nobody answers, and why.
	Unheard(ctx context.Context, of []Instance) (map[Ref]string, error)
}

// heed notes whose guests nobody answers: that they were not heard to call without a token proves nothing.
func heed(ctx context.Context, p Provider, instances []Instance, all []Assessment) {
	l, ok := p.(listener)
	if !ok || len(instances) == 0 {
		return
	}
	unheard, err := l.Unheard(ctx, instances)
	for i, in := range instances {
		a := &all[i]
		if a.Unheard = unheard[in.Ref]; err != nil {
			a.Unheard = "whether its guest is answered cannot be found out: " + err.Error()
		}
		switch {
		case a.Unheard == "":
		case a.Verdict == Ready:
			a.Verdict, a.Reason = Unknown, a.Unheard
		default:
			a.Reason += "; " + a.Unheard
		}
	}
}
