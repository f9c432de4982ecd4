package hostlink

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/openimds/openimds/store"
)

// How long [Copy.Follow] waits before it asks again: twice as long each time, up to the last, so that a host is in step
// a few seconds after it can reach a replica again. One that could be followed for steady is asked at once.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
	steady     = 10 * time.Second
)

// Follow keeps the copy in step with the replicas, whichever can be reached, until the context ends or the host is
// evicted. While none can be reached the copy stays what it is.
func (c *Copy) Follow(ctx context.Context, client *Client) {
	told := false
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, lastPause) {
		started := time.Now()
		at, address := client.replica()
		err := c.follow(ctx, client, address)
		if ctx.Err() != nil || errors.Is(err, store.ErrClosed) || errors.Is(err, ErrEvicted) {
			return
		}
		if errors.Is(err, errRenewed) {
			pause = firstPause / 2
			continue
		}
		client.leave(at)
		if time.Since(started) > steady {
			pause, told = firstPause, false
		}
		if !told { // one line for an outage, not one for each try, at each replica
			told = true
			c.log.Warn("the replicas cannot be followed; serving what this host knows", "error", err)
		}
		// Jitter, so that the hosts of a fleet do not all come back at the same moment.
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// errRenewed is why a stream is begun anew that nothing has failed of.
var errRenewed = errors.New("the host has another certificate")

// ErrBehind means that it is not known what has changed meanwhile.
var ErrBehind = errors.New("no replica can be followed now, so that this host may be behind")

// InStep waits until a replica has told all there is and goes on telling what changes. It gives up with the context, or
// with ErrBehind once each of so many replicas was asked in vain.
func (c *Copy) InStep(ctx context.Context, replicas int) error {
	return c.await(ctx, replicas, func() bool { return c.following })
}

// reach is InStep until all is written, too, that a region's store had at that revision.
func (c *Copy) reach(ctx context.Context, region string, revision int64, replicas int) error {
	return c.await(ctx, replicas, func() bool {
		return c.following && (c.through == nil || c.through[region] >= revision)
	})
}

// await waits until it holds, of what c.mu guards.
func (c *Copy) await(ctx context.Context, replicas int, holds func() bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for began := c.failed; !holds(); {
		if c.failed-began >= replicas {
			return ErrBehind
		}
		moved := c.moved
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			c.mu.Lock()
			return ctx.Err()
		case <-moved:
			c.mu.Lock()
		}
	}
	return nil
}

// inStep notes that the stream that is being taken has told all there is, or that it is one no more.
func (c *Copy) inStep(following bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.following = following; !following {
		c.failed++
		c.through = nil
	}
	c.tellMoved()
}

// wrote notes up to which revisions all is written.
func (c *Copy) wrote(through map[string]int64) {
	if through == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.through == nil {
		c.through = map[string]int64{}
	}
	maps.Copy(c.through, through)
	c.tellMoved()
}

// tellMoved wakes those who wait. The caller has the lock.
func (c *Copy) tellMoved() {
	close(c.moved)
	c.moved = make(chan struct{})
}

// follow is one stream, to its end.
func (c *Copy) follow(ctx context.Context, client *Client, address string) error {
	defer c.inStep(false)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	renewal := client.renewal()
	going, gone := context.WithCancel(ctx)
	defer gone()
	go func() {
		select {
		case <-renewal:
			cancel(errRenewed)
		case <-going.Done():
		}
	}()
	silent := fmt.Errorf("the replica %s is silent", address)
	watchdog := time.AfterFunc(answerTime, func() { cancel(silent) })
	defer watchdog.Stop()
	has, from, err := c.has(ctx)
	if err != nil {
		return err
	}
	lines, err := client.stream(ctx, address, has)
	if err != nil {
		return cmpCause(ctx, err)
	}
	defer func() { _ = lines.body.Close() }()
	s := stream{copy: c, from: from}
	for {
		m, err := lines.next()
		if err != nil {
			return cmpCause(ctx, fmt.Errorf("the replica %s has ended the stream: %w", address, err))
		}
		watchdog.Reset(3 * BeatEvery)
		listed := s.listed
		if err := s.take(ctx, m); err != nil {
			return err
		}
		c.wrote(m.Through)
		if !listed && s.listed {
			c.inStep(true)
			c.log.Info("this host follows a replica", "replica", address, "records", s.told)
		}
	}
}

// cmpCause is why a context has ended, if it has one; else the error.
func cmpCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// stream is how far one is.
type stream struct {
	copy   *Copy
	about  *About
	all    []Record // until all are listed
	from   had      // what the replica need not tell
	told   int
	listed bool
}

func (s *stream) take(ctx context.Context, m Message) error {
	c := s.copy
	c.setKeys(m.Keys)
	switch {
	case m.Hello != nil:
		return s.begin(m.Hello)
	case s.about == nil:
		return errors.New("the replica does not say what it tells of")
	case m.Listed:
		s.listed, s.told = true, len(s.all)
		err := c.replace(ctx, *s.about, s.all, s.from)
		s.all, s.from = nil, nil
		return err
	case len(m.Changes) > 0 && !s.listed:
		s.all = append(s.all, m.Changes...)
	case len(m.Changes) > 0:
		return c.change(ctx, *s.about, m.Changes)
	}
	return nil
}

func (s *stream) begin(h *Hello) error {
	switch {
	case s.about != nil:
		return errors.New("the replica begins twice")
	case h.Version != Version:
		return fmt.Errorf("the replica speaks version %d, this agent version %d: run agents and replicas of one release, or of two that follow each other", h.Version, Version)
	case h.Host != s.copy.host:
		return fmt.Errorf("the replica takes this host for %.80q, and its certificate is of %s", h.Host, s.copy.host)
	case len(h.Regions) == 0 || h.Home == "":
		return errors.New("the replica names no region")
	}
	if !h.From {
		s.from = nil
	}
	s.copy.setKeys(h.Keys)
	s.about = &About{Version: aboutVersion, Host: h.Host, Home: h.Home, Regions: h.Regions, Counting: h.Counting}
	return nil
}

// lines are those of a stream.
type lines struct {
	body interface{ Close() error }
	scan *bufio.Scanner
}

func (c *Client) stream(ctx context.Context, address string, has []Has) (*lines, error) {
	body, err := json.Marshal(FollowRequest{Program: c.cfg.Program, Has: has})
	if err != nil {
		return nil, err
	}
	resp, err := c.post(ctx, address, PathFollow, body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer func() { _ = resp.Body.Close() }()
		text := make([]byte, 4<<10)
		n, _ := resp.Body.Read(text)
		return nil, c.refusal(address, text[:n])
	}
	scan := bufio.NewScanner(resp.Body)
	scan.Buffer(nil, MaxMessage)
	return &lines{resp.Body, scan}, nil
}

func (l *lines) next() (m Message, err error) {
	if !l.scan.Scan() {
		if err := l.scan.Err(); err != nil {
			return m, err
		}
		return m, errors.New("it is over")
	}
	return m, json.Unmarshal(l.scan.Bytes(), &m)
}
