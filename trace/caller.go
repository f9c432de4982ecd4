package trace

import (
	"context"
	"sync"

	"github.com/openimds/openimds/processes"
)

// caller is a program that a process executes, which is named once.
type caller struct {
	mu      sync.Mutex
	named   bool
	process processes.Process
	clients []processes.Process // of systemd-imdsd
	unnamed bool                // it is not known who it is
}

// name is the process with all its names.
func (c *caller) name(ctx context.Context, n *processes.Namer) (processes.Process, []processes.Process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.named && !c.unnamed {
		n.Name(ctx, &c.process)
		for i := range c.clients {
			n.Name(ctx, &c.clients[i])
		}
		c.named = ctx.Err() == nil
	}
	return c.process, c.clients
}
