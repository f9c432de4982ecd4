package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"time"
)

//go:embed wrk.lua
var wrkScript []byte

// load is what wrk measured.
type load struct {
	Requests     int64
	Microseconds int64
	P50, P99     float64 // microseconds, from sending the request to the end of the answer
	Errors       int64
}

// wrk loads a server with one kind of request. Each has a connection of its own, since all servers
// here close them after the answer.
func (b *bench) wrk(ctx context.Context, core int, s *server, sc scenario) (l load, err error) {
	script := b.path("wrk.lua")
	if err := os.WriteFile(script, wrkScript, 0o600); err != nil {
		return l, err
	}
	threads := "2"
	if core != anyCore {
		threads = "1"
	}
	args := []string{
		"-t", threads, "-c", fmt.Sprint(b.clients), "-d", fmt.Sprint(int(max(b.duration/time.Second, 1))) + "s",
		"-s", script,
	}
	for _, h := range sc.headers(s.token) {
		args = append(args, "-H", h)
	}
	args = append(args, "http://"+s.addr(sc)+sc.path, "--", sc.method)
	cmd := exec.CommandContext(ctx, "wrk", args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := onCore(core, cmd.Start); err != nil {
		return l, err
	}
	if err := cmd.Wait(); err != nil {
		return l, fmt.Errorf("wrk: %w\n%s", err, out.Bytes())
	}
	_, result, ok := bytes.Cut(out.Bytes(), []byte("result "))
	if !ok || json.Unmarshal(result, &l) != nil {
		return l, fmt.Errorf("wrk's result is missing:\n%s", out.Bytes())
	}
	if l.Errors > 0 || l.Requests == 0 {
		return l, fmt.Errorf("%s, %s: %d of %d requests failed", s.name, sc.name, l.Errors, l.Requests)
	}
	return l, nil
}
