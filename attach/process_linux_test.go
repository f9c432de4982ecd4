package attach

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestStartedAfter: a number that was given to another process since, or to none, is not the process meant.
func TestStartedAfter(t *testing.T) {
	now := time.Now()
	if startedAfter(os.Getpid(), now) {
		t.Error("this process is taken for one that began after now")
	}
	if !startedAfter(os.Getpid(), now.Add(-24*time.Hour)) {
		t.Error("this process is taken for one of yesterday")
	}
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	if !startedAfter(ended.Process.Pid, now.Add(time.Hour)) {
		t.Error("a process that has ended is taken for one that runs")
	}
}
