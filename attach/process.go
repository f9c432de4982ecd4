package attach

import (
	"time"

	"github.com/prometheus/procfs"
)

// startedAfter says whether the process of that number began after t, or is not there: then it is not
// the one that was meant then.
func startedAfter(pid int, t time.Time) bool {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return true
	}
	stat, err := process.Stat()
	if err != nil {
		return true
	}
	began, err := stat.StartTime()
	// A second of grace, since clocks are set: a number is not given out again so soon.
	return err != nil || time.UnixMilli(int64(began*1000)).After(t.Add(time.Second))
}
