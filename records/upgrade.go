package records

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// LayoutKey is where a store says how its keys are laid out: at first, operations stood in the order of
// time, names were looked for among the resources of each type, and places knew no host; later, instances were found
// by their names alone.
const (
	LayoutKey    = "layout"
	layoutByName = 2
	layout       = 3
)

const (
	// upgradeBatch is how many records one commit of an upgrade carries over, in two changes each.
	upgradeBatch = 50
	// upgradeWriters is how many commits are under way at once, which share what a store can share of them.
	upgradeWriters = 32
)

// Upgrade carries the records of a store over to the layout of this program, if they have another one, as
// those of the host of that name. It is to be called before anything else reads or writes them, and again
// if it fails or is interrupted: then it goes on. The records of a later program are refused in one line.
func Upgrade(ctx context.Context, s store.Store, host string) error {
	r, err := s.Get(ctx, LayoutKey)
	switch {
	case errors.Is(err, store.ErrNoRecord):
		r = store.Record{Key: LayoutKey, Revision: store.IfAbsent}
		err = carryAll(ctx, s, host)
	case err == nil:
		now := 0
		now, err = Decode[int](r)
		switch {
		case err != nil || now == layout:
			return err
		case now > layout:
			return fmt.Errorf("the store's records have layout %d and this program knows %d; run the openimds that wrote them, or choose another --data-dir", now, layout)
		case now == layoutByName:
			err = rewrite(ctx, s, InstancePrefix, takeID)
		}
	}
	if err != nil {
		return fmt.Errorf("the records of an earlier openimds cannot be carried over: %w; start again to go on", err)
	}
	done, err := Encode(layout)
	if err == nil {
		_, err = s.Commit(ctx, store.Change{Verb: store.Put, Key: LayoutKey, Value: done, If: r.Revision})
	}
	if errors.Is(err, store.ErrConflict) {
		return Upgrade(ctx, s, host) // another host did it meanwhile
	}
	return err
}

// carryAll carries over the records of a store that does not say how they are laid out; an empty one has none.
func carryAll(ctx context.Context, s store.Store, host string) error {
	page, err := s.List(ctx, store.Range{Limit: 1})
	if err != nil || len(page.Records) == 0 {
		return err
	}
	return carryOver(ctx, s, host)
}

// carryOver does it under a lease: with one in it, a store's file is one that earlier programs refuse, which
// must not read what is half carried over.
func carryOver(ctx context.Context, s store.Store, host string) error {
	lease, err := s.Grant(ctx, time.Minute)
	if err != nil {
		return err
	}
	for prefix, change := range map[string]func(store.Record) ([]store.Change, error){
		OperationPrefix:               turnKey,
		OperationOfPrefix:             turnKey,
		AttachmentPrefix:              func(r store.Record) ([]store.Change, error) { return nameHost(r, host) },
		PlacePrefix:                   func(r store.Record) ([]store.Change, error) { return movePlace(r, host) },
		Prefix(openimds.TypeInstance): takeNameAndID,
		Prefix(openimds.TypeKeyPair):  takeName(openimds.TypeKeyPair),
		Prefix(openimds.TypeStaticIP): takeName(openimds.TypeStaticIP),
		Prefix(openimds.TypeAlarm):    takeName(openimds.TypeAlarm),
	} {
		if err := rewrite(ctx, s, prefix, change); err != nil {
			return err
		}
	}
	if err := s.Revoke(ctx, lease); !errors.Is(err, store.ErrNoLease) {
		return err
	}
	return nil // an upgrade may last longer than its lease
}

// rewrite commits the changes that each record of a prefix asks for.
func rewrite(ctx context.Context, s store.Store, prefix string, change func(store.Record) ([]store.Change, error)) error {
	var writing sync.WaitGroup
	var mu sync.Mutex
	var failed error
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = err
		}
	}
	places := make(chan struct{}, upgradeWriters)
	for after, more := "", true; more; {
		page, err := s.List(ctx, store.Range{Prefix: prefix, After: after, Limit: upgradeBatch})
		if err != nil {
			fail(err)
			break
		}
		var changes []store.Change
		for _, r := range page.Records {
			after = r.Key
			of, err := change(r)
			if err != nil {
				fail(err)
			}
			changes = append(changes, of...)
		}
		more = page.More
		if len(changes) == 0 {
			continue
		}
		places <- struct{}{}
		writing.Go(func() {
			defer func() { <-places }()
			if _, err := s.Commit(ctx, changes...); err != nil {
				fail(err)
			}
		})
	}
	writing.Wait()
	return failed
}

// move has a record stand under another key.
func move(r store.Record, key string, value []byte) []store.Change {
	return []store.Change{
		{Verb: store.Delete, Key: r.Key, If: r.Revision},
		{Verb: store.Put, Key: key, Value: value, If: store.Whatever},
	}
}

// turnKey turns the id at the end of an operation's key around. Those that are turned have not the 7 that
// tells the version of such an id.
func turnKey(r store.Record) ([]store.Change, error) {
	const idLength, version = len("01234567-89ab-7def-8123-456789abcdef"), len("01234567-89ab-")
	at := len(r.Key) - idLength
	if at < 0 || r.Key[at+version] != '7' {
		return nil, nil
	}
	return move(r, r.Key[:at]+invert(r.Key[at:]), r.Value), nil
}

// takeName has a resource hold its name.
func takeName(t openimds.ResourceType) func(store.Record) ([]store.Change, error) {
	return func(r store.Record) ([]store.Change, error) {
		name := strings.TrimPrefix(r.Key, Prefix(t))
		return []store.Change{{Verb: store.Put, Key: NameKey(name), Value: []byte(t), If: store.Whatever}}, nil
	}
}

// takeNameAndID has an instance hold both.
func takeNameAndID(r store.Record) ([]store.Change, error) {
	name, _ := takeName(openimds.TypeInstance)(r)
	id, err := takeID(r)
	return append(name, id...), err
}

// takeID has an instance be found by its id. One that cannot be read stays, and is found by nobody.
func takeID(r store.Record) ([]store.Change, error) {
	in, _, err := open[*openimds.Instance](r, recordedSchema)
	if err != nil || in == nil || in.ID == "" {
		return nil, nil
	}
	name := strings.TrimPrefix(r.Key, InstancePrefix)
	return []store.Change{{Verb: store.Put, Key: InstanceIDKey(in.ID), Value: []byte(name), If: store.Whatever}}, nil
}

// nameHost says in an attachment on which host it is. One that cannot be read attaches nobody, and stays.
func nameHost(r store.Record, host string) ([]store.Change, error) {
	a, schema, err := open[*openimds.Attachment](r, movedSchema)
	if err != nil || a == nil || schema >= attachmentSchema {
		return nil, nil
	}
	a.Host = host
	value, err := Encode(a)
	return []store.Change{{Verb: store.Put, Key: r.Key, Value: value, If: r.Revision}}, err
}

// movePlace makes a place one of that host. One that cannot be read stays, and holds nobody off.
func movePlace(r store.Record, host string) ([]store.Change, error) {
	there, err := Decode[[]openimds.Attachment](r)
	if err != nil || len(there) == 0 || there[0].Host != "" {
		return nil, nil
	}
	for i := range there {
		there[i].Host = host
	}
	value, err := Encode(there)
	return move(r, PlaceKey(&there[0]), value), err
}
