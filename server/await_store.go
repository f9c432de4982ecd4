package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds/api/front"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/printable"
	"github.com/openimds/openimds/store/etcd"
)

// awaitPause is about how long a store that does not answer is left alone before it is asked again.
const awaitPause = time.Second

// awaitStore opens the shared store, and waits for as long as it does not answer: when a whole rack starts, its machines
// do so in any order. A store that refuses this server is not waited for.
func (s *Server) awaitStore(ctx context.Context, at etcd.Config) (*etcd.Store, error) {
	open := func() (*etcd.Store, error) {
		kept, err := etcd.Open(ctx, at)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.cfg.named("Store"), err)
		}
		return kept, nil
	}
	kept, err := open()
	if err == nil || !errors.Is(err, etcd.ErrAway) {
		return kept, err
	}
	var why atomic.Value // a line, of whoever asks meanwhile
	why.Store(printable.Line(err.Error()))
	answered, lerr := s.answerWaiting(ctx, &why)
	if lerr != nil {
		return nil, lerr
	}
	defer answered()
	s.log.Warn("waiting for the store; nobody is answered until it is there", "error", err)
	for errors.Is(err, etcd.ErrAway) && ctx.Err() == nil {
		why.Store(printable.Line(err.Error()))
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(awaitPause/2 + rand.N(awaitPause)): // not all servers of a rack at the same moment
		}
		kept, err = open()
	}
	if err == nil {
		s.log.Info("the store answers")
	}
	return kept, err
}

// answerWaiting tells those who ask at the control API whether this server is ready why it is not, until done is called.
func (s *Server) answerWaiting(ctx context.Context, why *atomic.Value) (done func(), err error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", ok)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, why.Load().(string)+"\n")
	})
	open, err := imds.ListenTCP(ctx, s.cfg.APIListen)
	if err != nil {
		return nil, cannotListen(s.cfg.named("APIListen"), s.cfg.APIListen, err)
	}
	answering := front.New(front.Config{Handler: mux, Certificates: s.certificates, Connections: s.cfg.APIConnections, Log: s.log})
	var serving sync.WaitGroup
	for _, l := range open {
		serving.Go(func() { _ = answering.Serve(l) })
	}
	return func() {
		deadline, end := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer end()
		_ = answering.Shutdown(deadline)
		serving.Wait()
	}, nil
}
