package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until it holds.
func eventually(holds func() bool) error {
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited in vain for %v", patience)
		}
	}
	return nil
}

// loopback is an address of this machine at which nothing else listens, so that a port of it that was closed is nobody's.
func loopback() string {
	if runtime.GOOS != "linux" { // which has all of 127/8
		return "127.0.0.1"
	}
	return fmt.Sprintf("127.79.%d.%d", os.Getpid()%256, 1+loopbacks.Add(1)%254)
}

// loopbacks counts the addresses that this process has taken.
var loopbacks atomic.Uint32

// The prefixes of targets, for tests that name operations.
const (
	targetLightsail = "Lightsail_20161128."
	targetOpenIMDS  = "OpenIMDS_20261122."
)

// keyOf is the id of the access key that a data directory began with.
func keyOf(t testing.TB, dataDir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dataDir, credentialsFile))
	must(t, err)
	return regexp.MustCompile(`AKIA\w+`).FindString(string(text))
}

// namedRequest is a request of the control API before its body of that size, which is waited for, since it names a
// key that there is. The signature is wrong.
func namedRequest(key string, size int, headers ...string) string {
	day := time.Now().UTC()
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: %d\r\n"+
		"X-Amz-Target: Lightsail_20161128.GetInstance\r\nX-Amz-Date: %s\r\n"+
		"Authorization: AWS4-HMAC-SHA256 Credential=%s/%s/us-east-1/lightsail/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=%064d\r\n%s\r\n",
		size, day.Format("20060102T150405Z"), key, day.Format("20060102"), 7, strings.Join(append(headers, ""), "\r\n"))
}

// ask calls an operation by its name, with whatever JSON a test writes; out, unless nil, takes the answer.
func ask(ctx context.Context, c *client.Client, target string, in, out any) error {
	answer, err := client.Call(ctx, c, wire.Target[any, json.RawMessage]{Name: target, Changes: true}, in)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(answer, out)
}
