package naming

import (
	"testing"

	"github.com/openimds/openimds/processes"
)

// A process that ended while it was looked at is not named by the half of it.
func TestEnded(t *testing.T) {
	namer := New(nil)
	defer namer.Close()
	w := &watch{namer: namer, waiting: newWaiting()}
	whole := processes.Process{PID: 1, Start: namer.names.Start(1), Exe: "/bin/app", Argv: []string{"app"}, UID: 0, Cgroup: "/"}
	for name, c := range map[string]struct {
		change func(p *processes.Process)
		want   bool
	}{
		"whole":                        {func(*processes.Process) {}, false},
		"there, without control group": {func(p *processes.Process) { p.Cgroup = "" }, false},
		"gone, and all was read":       {func(p *processes.Process) { p.Start++ }, false},
		"gone before its group":        {func(p *processes.Process) { p.Start++; p.Cgroup = "" }, true},
		"gone before its user":         {func(p *processes.Process) { p.Start++; p.UID = -1 }, true},
		"no command line":              {func(p *processes.Process) { p.Argv = nil }, true},
	} {
		p := whole
		c.change(&p)
		if w.ended(p) != c.want {
			t.Errorf("%s: want %v", name, c.want)
		}
	}
}
