// Package etcd keeps the records of one installation in an etcd cluster, which many processes share.
//
// A commit is one transaction of etcd: it is on the disks of a majority before it is acknowledged, and reads ask the
// majority too, so that whoever reads after a commit sees it, whichever member answers. One watch of all records feeds
// the [store.Changelog] that the process's watchers read: a watcher costs the cluster nothing, and one that falls
// behind lists again.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds/store"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// DefaultTimeout is how long a cluster may take to answer one request.
const DefaultTimeout = 5 * time.Second

// attemptTime is how long one member may take to answer a request that can be repeated at another: a member that is
// halted keeps its connections. It is doubled with each attempt, as a slow answer is better than none.
const attemptTime = time.Second

// A connection is given up when nothing was heard on it for so long. gRPC sends no more pings than that.
const (
	pingEvery   = 10 * time.Second
	pingTimeout = 5 * time.Second
)

// A member that is away is tried again after at most so long, and for so long. gRPC's own pauses grow to two minutes: a
// cluster that was away for ten would be back, and not be found for as long.
const (
	connectPause = time.Second
	connectTime  = 5 * time.Second
)

// Store is the [store.Store] in an etcd cluster.
type Store struct {
	cfg    Config
	client *clientv3.Client
	root   string // that all keys of this store begin with in the cluster
	log    *store.Changelog

	ctx     context.Context // ends with Close
	end     context.CancelFunc
	ended   chan struct{} // closed: the watch has ended
	closing sync.Once

	at       position
	ask      chan struct{} // has one in it when the watch's progress is to be asked for
	health   health
	refusing chan error
}

// position is where the watch has come to; of its goroutine alone.
type position struct {
	cluster  uint64 // its id
	revision int64  // 0: of no use any more
}

// ErrAway means that the cluster does not answer. It may later.
var ErrAway = errors.New("does not answer")

// Open opens the store that c says. It waits for the cluster's first answer; errors are one line for people and name
// the cluster: ErrAway, if there is none within the time that a request may take. The context is of the start alone.
func Open(ctx context.Context, c Config) (*Store, error) {
	settings, err := c.client()
	if err != nil {
		return nil, err
	}
	settings.Logger = zap.NewNop() // what it has to say, its errors say too
	settings.DialKeepAliveTime, settings.DialKeepAliveTimeout = pingEvery, pingTimeout
	settings.DialTimeout = c.timeout()
	settings.DialOptions = append(settings.DialOptions, grpc.WithConnectParams(grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: connectPause / 4, Multiplier: 1.6, Jitter: 0.2, MaxDelay: connectPause},
		MinConnectTimeout: connectTime,
	}))
	s := &Store{
		cfg: c, root: c.Address.Prefix + "/", ended: make(chan struct{}),
		ask: make(chan struct{}, 1), refusing: make(chan error, 1),
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	if s.client, err = clientv3.New(settings); err != nil {
		s.end()
		return nil, s.explain(err)
	}
	var at *clientv3.GetResponse
	err = s.repeat(ctx, func(ctx context.Context) (err error) {
		at, err = s.client.Get(ctx, s.root, clientv3.WithKeysOnly())
		return err
	})
	if err != nil {
		s.end()
		_ = s.client.Close()
		if distrust := c.distrust(ctx, settings.TLS); distrust != nil {
			return nil, distrust
		}
		return nil, err
	}
	s.at.cluster, s.at.revision = at.Header.ClusterId, at.Header.Revision
	s.log = store.NewChangelog(at.Header.Revision, store.ChangelogRecords, store.ChangelogBytes)
	go s.follow()
	return s, nil
}

// Close ends the calls under way with ErrClosed.
func (s *Store) Close() (err error) {
	err = errors.New("the store was closed before")
	s.closing.Do(func() {
		s.end()
		<-s.ended
		s.log.Close()
		err = s.client.Close()
	})
	return err
}

func (s *Store) key(key string) string { return s.root + key }

// bound is the context of one request: it ends with the caller's, with the store, and when the cluster's time is over.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.timeout())
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// once makes a request whose outcome is not known if it fails.
func (s *Store) once(ctx context.Context, call func(context.Context) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	asked, done := s.bound(ctx)
	defer done()
	return s.outcome(ctx, call(asked))
}

// repeat makes a request that changes nothing, or nothing more when it is made again, until a member answers.
func (s *Store) repeat(ctx context.Context, call func(context.Context) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	asked, done := s.bound(ctx)
	defer done()
	for pause, patience := 10*time.Millisecond, attemptTime; ; pause, patience = 2*pause, 2*patience {
		attempt, cancel := context.WithTimeout(asked, patience)
		err := call(attempt)
		cancel()
		if err == nil || asked.Err() != nil || !silent(err) {
			return s.outcome(ctx, err)
		}
		wait(asked, pause)
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (s *Store) usable(ctx context.Context) error {
	if s.ctx.Err() != nil {
		return store.ErrClosed
	}
	return ctx.Err()
}

// outcome is what a request of the caller's context has come to.
func (s *Store) outcome(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ended := s.usable(ctx); ended != nil {
		return ended
	}
	return s.explain(err)
}

// explain tells a failure of the cluster as the contract does, or as people read it.
func (s *Store) explain(err error) error {
	switch kind := kindOf(err); {
	case kind != nil:
		return fmt.Errorf("%w (etcd: %s)", kind, told(err))
	case silent(err):
		return fmt.Errorf("etcd at %s %w: %s; check that a majority of its members is up and can be reached from here", s.members(), ErrAway, told(err))
	default:
		return fmt.Errorf("etcd at %s refuses: %s", s.members(), told(err))
	}
}

func (s *Store) members() string { return strings.Join(s.cfg.Address.Members, ", ") }

// health is why changes are refused, if they are.
type health struct {
	away atomic.Pointer[error] // the cluster cannot be followed
	full atomic.Pointer[error] // it has no room
}

// Health says in one line why the store takes no changes, as far as is known; nil: it takes them. It never waits.
func (s *Store) Health() error {
	for _, p := range []*atomic.Pointer[error]{&s.health.full, &s.health.away} {
		if err := p.Load(); err != nil {
			return *err
		}
	}
	return nil
}

// Refusing tells when the store begins to refuse changes, and why; one refusal waits to be heard.
func (s *Store) Refusing() <-chan error { return s.refusing }

// note makes known why changes are refused, or by nil that they are not.
func (s *Store) note(at *atomic.Pointer[error], err error) {
	if err == nil {
		at.Store(nil)
		return
	}
	if at.Swap(&err) == nil {
		select {
		case s.refusing <- err:
		default:
		}
	}
}
