package etcd_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/etcd/etcdtest"
)

// A cluster that is away for long is looked for all the time, so that it is found when it is back: gRPC's own pauses would
// have grown to minutes by then.
func TestLookedFor(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tried := make(chan struct{}, 1000)
	var mu sync.Mutex
	away, passed := false, map[net.Conn]bool{}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			if away {
				tried <- struct{}{}
				_ = in.Close()
			} else if out, err := net.Dial("tcp", c.Addresses()); err == nil {
				passed[in], passed[out] = true, true
				go func() { _, _ = io.Copy(in, out) }()
				go func() { _, _ = io.Copy(out, in) }()
			}
			mu.Unlock()
		}
	}()
	cut := func(now bool) {
		mu.Lock()
		defer mu.Unlock()
		away = now
		for conn := range passed {
			_ = conn.Close()
		}
		clear(passed)
	}
	s := open(t, l.Addr().String(), "/looked-for")
	defer func() { _ = s.Close() }()
	defer func() { _ = l.Close() }()
	cut(true)
	late := time.After(patience)
	for tries := range 14 { // by gRPC's own pauses they take more than twice as long
		select {
		case <-tried:
		case <-late:
			t.Fatalf("the cluster is looked for %d times in %s", tries, patience)
		}
	}
	cut(false)
	if _, err := s.Commit(t.Context(), store.Change{Key: "a", Value: []byte("b"), If: store.IfAbsent}); err != nil {
		t.Error(err)
	}
}
