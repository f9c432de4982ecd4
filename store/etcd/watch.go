package etcd

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/openimds/openimds/store"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// heartbeat is how often the watch's progress is asked for, and silence how long it may take to be told: a stream
	// can be dead, and its member without a leader, without a word.
	heartbeat = 2 * time.Second
	silence   = 5 * heartbeat
	// How long a watch that has failed is not begun anew: twice as long each time.
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
)

// Why a watch is begun anew without a failure of the cluster's.
var (
	errBehind = errors.New("a member of the etcd cluster is behind what another one said before")
	errEnded  = errors.New("the watch has ended")
)

// follow carries what changes in the cluster to the log until the store is closed. While the cluster is away watchers
// wait, and go on where they were.
func (s *Store) follow() {
	defer close(s.ended)
	for pause := firstPause; s.ctx.Err() == nil; pause = min(2*pause, lastPause) {
		begun := time.Now()
		err := s.followOnce()
		if s.ctx.Err() != nil {
			return
		}
		if time.Since(begun) > silence {
			pause = firstPause
		}
		if errors.Is(err, store.ErrCompacted) {
			s.at.revision = 0
			continue
		}
		s.note(&s.health.away, err)
		wait(s.ctx, pause/2+rand.N(pause))
	}
}

// followOnce begins where the log has come to, and goes on until something fails.
func (s *Store) followOnce() error {
	if err := s.resume(); err != nil {
		return err
	}
	ctx, end := context.WithCancel(clientv3.WithRequireLeader(s.ctx))
	defer end()
	begun := time.AfterFunc(silence, end) // Watch itself waits for a member that takes it
	told := s.client.Watch(ctx, s.root, clientv3.WithPrefix(), clientv3.WithRev(s.at.revision+1),
		clientv3.WithProgressNotify(), clientv3.WithCreatedNotify())
	begun.Stop()
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for heard := time.Now(); ; {
		select {
		case answer, more := <-told:
			if err := answer.Err(); err != nil || !more {
				return s.explain(cmp.Or(err, errEnded))
			}
			if err := s.take(answer); err != nil {
				return err
			}
			heard = time.Now()
			s.note(&s.health.away, nil)
		case <-s.ask:
			go func() { _ = s.client.RequestProgress(ctx) }()
		case <-tick.C:
			if time.Since(heard) > silence {
				return s.explain(context.DeadlineExceeded)
			}
			go func() { _ = s.client.RequestProgress(ctx) }()
			s.lookForRoom(ctx)
		}
	}
}

// resume looks whether the cluster still is the one that was followed. If it is another, or was put back to an earlier
// state, or does not have the changes any more, whoever watches has to list again.
func (s *Store) resume() error {
	now, err := s.get(s.ctx, s.root, clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	if s.at.revision == 0 || now.Header.ClusterId != s.at.cluster || now.Header.Revision < s.at.revision {
		s.log.Reset(now.Header.Revision)
		s.at.cluster, s.at.revision = now.Header.ClusterId, now.Header.Revision
	}
	return nil
}

// take carries an answer of the watch to the log: the changes of each revision as the one commit that they were, and
// how far the cluster is where nothing of this store's was changed.
func (s *Store) take(answer clientv3.WatchResponse) error {
	if answer.Header.ClusterId != s.at.cluster {
		return errBehind
	}
	for i := 0; i < len(answer.Events); {
		revision := answer.Events[i].Kv.ModRevision
		var records []store.Record
		for ; i < len(answer.Events) && answer.Events[i].Kv.ModRevision == revision; i++ {
			record := s.record(answer.Events[i].Kv)
			if answer.Events[i].Type == clientv3.EventTypeDelete {
				record.Value, record.Lease = nil, store.NoLease
			}
			records = append(records, record)
		}
		if revision > s.at.revision {
			s.log.Append(revision, records)
			s.at.revision = revision
		}
	}
	if !answer.IsProgressNotify() {
		return nil
	}
	if answer.Header.Revision < s.at.revision {
		return errBehind
	}
	if answer.Header.Revision > s.at.revision {
		s.log.Append(answer.Header.Revision, nil)
		s.at.revision = answer.Header.Revision
	}
	return nil
}

// Watch implements [store.Store].
func (s *Store) Watch(prefix string, after int64) store.Watcher {
	return &watcher{store: s, after: after, log: s.log.Watch(prefix, after)}
}

// watcher reads the log once that has come to where the watch begins: a list is read from the cluster, which may be
// ahead.
type watcher struct {
	store   *Store
	after   int64
	reached bool
	log     store.Watcher
}

// Next implements [store.Watcher].
func (w *watcher) Next(ctx context.Context) ([]store.Record, error) {
	if !w.reached {
		if err := w.store.reach(ctx, w.after); err != nil {
			return nil, err
		}
		w.reached = true
	}
	return w.log.Next(ctx)
}

// reach waits until the log has come to a revision. One that the cluster itself has not is of another life of it. So is
// a log that is ahead of the cluster: nothing of it is told, since what was listed is of the life that the cluster has now.
func (s *Store) reach(ctx context.Context, revision int64) error {
	for {
		latest := s.log.Latest()
		if err := s.usable(ctx); err != nil {
			return err
		}
		now, err := s.revision(ctx)
		if err != nil {
			return err
		}
		if now < revision {
			return store.ErrCompacted
		}
		if revision <= latest && latest <= now {
			return nil
		}
		select {
		case s.ask <- struct{}{}:
		default:
		}
		moment, done := context.WithTimeout(ctx, 200*time.Millisecond)
		if latest > now {
			<-moment.Done() // until the cluster is followed anew
		} else {
			err = s.log.Reach(moment, revision)
		}
		done()
		if errors.Is(err, store.ErrClosed) {
			return err
		}
	}
}
