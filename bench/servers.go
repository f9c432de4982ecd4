package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// scenario is one kind of request.
type scenario struct {
	name   string
	file   string // of the recorded answer
	method string
	path   string
	// session says that the request carries a token.
	session bool
}

// scenarios are the requests that are measured.
func scenarios() []scenario {
	const path = "/latest/meta-data/instance-id"
	return []scenario{
		{name: "GET with token", file: "GET-session", method: "GET", path: path, session: true},
		{name: "GET without", file: "GET", method: "GET", path: path},
		{name: "PUT token", file: "PUT", method: "PUT", path: "/latest/api/token"},
	}
}

// headers are those besides Host.
func (sc scenario) headers(token string) []string {
	switch {
	case sc.session:
		return []string{"X-aws-ec2-metadata-token: " + token}
	case sc.method == "PUT":
		return []string{"X-aws-ec2-metadata-token-ttl-seconds: 21600"}
	}
	return nil
}

// server is one of those that are compared.
type server struct {
	name    string
	process *process
	addrs   map[string]string // by scenario; "" is all others
	token   string
	// few says that it is there for one question: the first scenario is enough.
	few bool
	// idle is its memory before the first request; collection is what it said of a full one.
	idle       memory
	collection time.Duration
}

func (s *server) addr(sc scenario) string {
	if a := s.addrs[sc.file]; a != "" {
		return a
	}
	return s.addrs[""]
}

// startServers starts all servers, on one core or on any. The caller stops them, also after an error.
func (b *bench) startServers(ctx context.Context, core int) (all []*server, err error) {
	add := func(s *server, err error) error {
		if s != nil {
			all = append(all, s)
		}
		return err
	}
	if err := add(b.startOpenIMDS(ctx, core, "openimds", "one")); err != nil {
		return all, err
	}
	if err := b.record(all[0]); err != nil {
		return all, err
	}
	if err := add(b.startOpenIMDS(ctx, core, "openimds, "+grouped(b.instances)+" in its store", "many")); err != nil {
		return all, err
	}
	if core != anyCore {
		for _, count := range []int{1, b.instances} {
			if err := add(b.startGuests(ctx, core, count)); err != nil {
				return all, err
			}
		}
	}
	if _, err := exec.LookPath("nginx"); err != nil {
		log.Print("nginx is not installed: skipped")
	} else {
		for _, deferred := range []bool{true, false} {
			if err := add(b.startNginx(ctx, core, deferred)); err != nil {
				return all, err
			}
		}
	}
	if err := add(b.startNetHTTP(ctx, core)); err != nil {
		return all, err
	}
	for _, s := range all {
		if err := b.prepare(ctx, s); err != nil {
			return all, err
		}
	}
	return all, nil
}

// prepare waits until a server is at rest, notes its memory, and makes sure that it gives the same
// answers as the others.
func (b *bench) prepare(ctx context.Context, s *server) error {
	if err := s.process.settle(ctx); err != nil {
		return err
	}
	var err error
	if s.idle, err = s.process.memory(); err != nil {
		return err
	}
	token, err := ask(s, scenarios()[2])
	if err != nil {
		return err
	}
	s.token = string(token[len(token)-56:])
	for _, sc := range scenarios() {
		got, err := ask(s, sc)
		if err != nil {
			return err
		}
		if want := b.answers[sc.file]; len(got) != len(want) {
			return fmt.Errorf("%s, %s: the answer has %d bytes and not %d as openimds':\n%s", s.name, sc.name, len(got), len(want), got)
		}
	}
	return nil
}

// record keeps openimds' answers for the others to give.
func (b *bench) record(s *server) error {
	token, err := ask(s, scenarios()[2])
	if err != nil {
		return err
	}
	s.token = string(token[len(token)-56:])
	for _, sc := range scenarios() {
		if b.answers[sc.file], err = ask(s, sc); err != nil {
			return err
		}
		if err := os.WriteFile(b.path(sc.file), b.answers[sc.file], 0o600); err != nil {
			return err
		}
	}
	return nil
}

// ask sends one request and returns the raw answer.
func ask(s *server, sc scenario) ([]byte, error) {
	c, err := net.Dial("tcp", s.addr(sc))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	request := sc.method + " " + sc.path + " HTTP/1.1\r\nHost: " + s.addr(sc) + "\r\n"
	for _, h := range sc.headers(s.token) {
		request += h + "\r\n"
	}
	if _, err := io.WriteString(c, request+"\r\n"); err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(c)
	if err == nil && !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 OK\r\n")) {
		err = errors.New("the answer is no 200")
	}
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w: %q", s.name, sc.name, err, answer)
	}
	return answer, nil
}

// startOpenIMDS starts the program itself on one of the data directories.
func (b *bench) startOpenIMDS(ctx context.Context, core int, name, dataDir string) (*server, error) {
	p, ready, err := b.startReady(ctx, core, "openimds", "serve", "--data-dir", b.path(dataDir),
		"--imds-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--log-level", "warn",
		"--guest-rate", "0", "--guest-connections", "0")
	if p == nil {
		return nil, err
	}
	return &server{name: name, process: p, addrs: map[string]string{"": ready["imds"]}}, err
}

// startGuests starts the guest side alone, with instances in memory.
func (b *bench) startGuests(ctx context.Context, core, count int) (*server, error) {
	// Loading takes all cores; only serving has one.
	p, ready, err := b.startReady(ctx, anyCore, "guests", "-count", strconv.Itoa(count), "-procs", "1")
	if p == nil {
		return nil, err
	}
	s := &server{name: "guest side alone, " + grouped(count) + " served", process: p, addrs: map[string]string{"": ready["imds"]}, few: true}
	if err == nil {
		var seconds float64
		seconds, err = strconv.ParseFloat(ready["collection"], 64)
		s.collection = time.Duration(seconds * float64(time.Second))
	}
	return s, errors.Join(err, p.pin(core))
}

func (b *bench) startNetHTTP(ctx context.Context, core int) (*server, error) {
	p, ready, err := b.startReady(ctx, core, "nethttp", "-answers", b.dir)
	if p == nil {
		return nil, err
	}
	return &server{name: "net/http, bare handler", process: p, addrs: map[string]string{"": ready["imds"]}}, err
}

// startReady starts a program of this tree, which says by a file when it is ready and where.
func (b *bench) startReady(ctx context.Context, core int, name string, args ...string) (*process, map[string]string, error) {
	dir, err := os.MkdirTemp(b.dir, name+"-")
	if err != nil {
		return nil, nil, err
	}
	file := filepath.Join(dir, "ready")
	if name == "openimds" {
		args = append(args, "--ready-file", file)
	} else {
		args = append(args, "-ready-file", file)
	}
	p, err := startProcess(ctx, core, b.path(name), args...)
	if err != nil {
		return nil, nil, err
	}
	ready, err := p.readReady(ctx, file)
	return p, ready, err
}
