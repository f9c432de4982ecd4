package server

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWatchdogKnowsTheEnd(t *testing.T) {
	d := newWatchdog(time.Hour, func(string) { t.Error("a program that has stopped is ended") })
	d.start()
	d.end()
	d = newWatchdog(time.Hour, func(string) { t.Error("a program that has stopped is ended") })
	d.end()
	d.start()
	if d.timer != nil {
		t.Error("what has stopped is waited for")
	}
}

// What hangs is told with its name.
func TestWatchdogNamesWhatHangs(t *testing.T) {
	var told []string
	d := newWatchdog(time.Hour, func(stage string) { told = append(told, stage) })
	d.bite()
	d.at("the store")
	d.bite()
	newWatchdog(time.Hour, nil).bite() // nobody wants to know
	if len(told) != 2 || told[0] != "the start" || told[1] != "the store" {
		t.Errorf("told of %q", told)
	}
}

// What a stop may take is told in one number, and unless it is told, 5 seconds are kept with something to spare.
func TestStopTimes(t *testing.T) {
	for timeout, want := range map[time.Duration]stopTimes{
		0:               {2500 * time.Millisecond, 3500 * time.Millisecond, 4500 * time.Millisecond},
		5 * time.Second: {2500 * time.Millisecond, 3500 * time.Millisecond, 4500 * time.Millisecond},
		time.Minute:     {30 * time.Second, 42 * time.Second, 54 * time.Second},
	} {
		c := Config{StopTimeout: timeout}
		if got := c.stopTimes(); got != want {
			t.Errorf("%v: %v, not %v", timeout, got, want)
		}
	}
}

// A request that does not come to its end is cut off in the middle of the stop, and the server ends as it should.
func TestStopCutsOff(t *testing.T) {
	cfg := forTest(filepath.Join(t.TempDir(), "data"))
	cfg.StopTimeout = 100 * time.Millisecond // Hangs is nil, so that it may take longer on a busy machine
	var log lockedBuffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	i := openInstallation(t, cfg)
	c, err := net.Dial("tcp", strings.TrimPrefix(i.server.APIURL(), "http://"))
	must(t, err)
	defer func() { _ = c.Close() }()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	day := time.Now().UTC() // the body is waited for, since the head names a key that there is
	_, err = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: 100\r\nExpect: 100-continue\r\n"+
		"X-Amz-Target: Lightsail_20161128.GetInstance\r\nX-Amz-Date: %s\r\n"+
		"Authorization: AWS4-HMAC-SHA256 Credential=%s/%s/us-east-1/lightsail/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=%064d\r\n\r\n",
		day.Format("20060102T150405Z"), i.client.key.AccessKeyID, day.Format("20060102"), 7)
	must(t, err)
	answer := bufio.NewReader(c)
	if line, err := answer.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("the body is not waited for: %q, %v", line, err)
	}
	i.stop()
	if rest, err := io.ReadAll(answer); len(rest) > len("\r\n") {
		t.Errorf("it is answered: %q, %v", rest, err)
	}
	if !strings.Contains(log.String(), "some control requests were cut off") {
		t.Errorf("the log does not say so:\n%s", &log)
	}
}
