package refusals

import (
	"context"
	"errors"
	"sync"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// state is what the store has of an instance.
type state struct {
	id         string // empty: there is no such instance
	damaged    bool   // it cannot be read who serves it
	attachment *openimds.Attachment
	seats      map[string]string // the process, by host
	mark       *records.Watched
	marked     store.Record
	told       map[string]records.Refused // by host
	// silent are the hosts that are to serve it and have told nothing for the mark, and what their records say; nil: they
	// are not there.
	silent map[string]*records.Host
}

// hosts are those that serve the instance, or are to.
func (s *state) hosts() map[string]bool {
	all := map[string]bool{}
	for host := range s.seats {
		all[host] = true
	}
	if a := s.attachment; a != nil {
		all[a.Host] = true
		for _, host := range a.From {
			all[host] = true
		}
	}
	return all
}

// hasTold says whether the process that serves the instance at a host has told for the mark that there is.
func (s *state) hasTold(host string) bool {
	process, seated := s.seats[host]
	told, there := s.told[host]
	return seated && there && s.mark != nil && told.Watch == s.mark.ID && told.Process == process
}

// stale are those of the instances that are to be read.
func (w *Watch) stale(of []string) (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range of {
		if in := w.known[name]; in != nil && in.read != in.changes {
			names = append(names, name)
		}
	}
	return names
}

// load reads what is not known of instances.
func (w *Watch) load(ctx context.Context, of []string) error {
	names := w.stale(of)
	var loading sync.WaitGroup
	places := make(chan struct{}, loadsAtOnce)
	failures := make([]error, len(names))
	for i, name := range names {
		places <- struct{}{}
		loading.Go(func() {
			defer func() { <-places }()
			failures[i] = w.loadOne(ctx, name)
		})
	}
	loading.Wait()
	return errors.Join(failures...)
}

func (w *Watch) loadOne(ctx context.Context, name string) error {
	w.mu.Lock()
	in := w.known[name]
	if in == nil {
		w.mu.Unlock()
		return nil
	}
	changes := in.changes
	w.mu.Unlock()
	s, err := w.read(ctx, name)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if changes >= in.read { // else somebody has read it later
		in.state, in.read = s, changes
	}
	return nil
}

// read reads what the store has of an instance.
func (w *Watch) read(ctx context.Context, name string) (s state, err error) {
	if s.id, err = w.cfg.Find(ctx, name); err != nil || s.id == "" {
		return state{}, err
	}
	if err := w.readServing(ctx, name, &s); err != nil {
		return s, err
	}
	if err := w.readTold(ctx, name, &s); err != nil {
		return s, err
	}
	s.silent = map[string]*records.Host{}
	for host := range s.hosts() {
		if s.hasTold(host) {
			continue
		}
		r, there, err := w.get(ctx, records.HostKey(host))
		if err != nil {
			return s, err
		}
		s.silent[host] = nil
		if there {
			if of, err := records.Decode[records.Host](r); err == nil {
				s.silent[host] = &of
			}
		}
	}
	return s, nil
}

// get reads a record, if it is there.
func (w *Watch) get(ctx context.Context, key string) (r store.Record, there bool, err error) {
	r, err = w.cfg.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNoRecord) {
		return r, false, nil
	}
	return r, err == nil, err
}

// readServing reads who serves the instance, or is to.
func (w *Watch) readServing(ctx context.Context, name string, s *state) error {
	attached, there, err := w.get(ctx, records.AttachmentPrefix+name)
	if err != nil {
		return err
	}
	if there {
		s.attachment, err = records.DecodeAttachment(attached)
		s.damaged = err != nil
	}
	seats, err := w.cfg.Store.List(ctx, store.Range{Prefix: records.SeatKey(name, "")})
	if err != nil {
		return err
	}
	s.seats = map[string]string{}
	for _, r := range seats.Records {
		seat, err := records.Decode[records.Seat](r)
		s.damaged = s.damaged || err != nil
		s.seats[records.SeatingHost(r.Key)] = seat.Process
	}
	return nil
}

// readTold reads whether somebody waits for the instance's refused calls, and what hosts have told of them.
func (w *Watch) readTold(ctx context.Context, name string, s *state) (err error) {
	var there bool
	if s.marked, there, err = w.get(ctx, records.WatchedKey(name)); err != nil {
		return err
	}
	if there {
		if mark, err := records.Decode[records.Watched](s.marked); err == nil && mark.InstanceID == s.id { // else another takes its place
			s.mark = &mark
		}
	}
	page, err := w.cfg.Store.List(ctx, store.Range{Prefix: records.RefusedKey(name, "")})
	if err != nil {
		return err
	}
	s.told = map[string]records.Refused{}
	for _, r := range page.Records {
		if one, err := records.Decode[records.Refused](r); err == nil && one.InstanceID == s.id { // one that cannot be read is not told
			s.told[records.RefusingHost(r.Key)] = one
		}
	}
	return nil
}
