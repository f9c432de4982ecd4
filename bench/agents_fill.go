package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/bench/fleet"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/bolt"
)

func hostName(i int) string { return fmt.Sprintf("host-%04d", i) }

// fillFleet makes the data directory of a replica with so many hosts, each of which has so many instances attached, and
// the invitations of the hosts.
func fillFleet(ctx context.Context, dir string, hosts, each int) (*agents, error) {
	f := &agents{}
	replica := filepath.Join(dir, "replica")
	if err := os.MkdirAll(replica, 0o700); err != nil {
		return nil, err
	}
	// A port that stays the replica's when it is restarted.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f.address = l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	kept, err := bolt.Open(storeFile(replica))
	if err != nil {
		return nil, err
	}
	defer kept.Close()
	if err := records.Upgrade(ctx, kept, openimds.LocalHost); err != nil {
		return nil, err
	}
	authority, err := hostcert.Open(ctx, hostcert.Config{Store: kept, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	w := filling{ctx: ctx, kept: kept}
	instances := fleet.NewMaker()
	demo, err := instances.Record(0, "demo")
	if err != nil {
		return nil, err
	}
	w.put(demo.Key, demo.Value, nil)
	for h := range hosts {
		a := &agent{name: hostName(h), dir: filepath.Join(dir, hostName(h)), of: f}
		token := openimds.NewJoinToken(a.name)
		until := time.Now().Add(openimds.MaxJoinTime)
		a.invitation = openimds.Invitation{
			Version: openimds.InvitationVersion, Host: a.name, Token: token, Until: until,
			Authority: string(authority.CertificatePEM()), Replicas: []string{f.address},
		}
		value, err := records.Encode(records.JoinToken{Sum: token.Sum(), Until: until})
		w.put(records.JoinTokenKey(a.name), value, err)
		for i := range each {
			n := h*each + i + 1
			name := fleet.Name(n)
			r, err := instances.Record(n, name)
			w.put(r.Key, r.Value, err)
			in, err := records.DecodeInstance(r)
			if err != nil {
				return nil, err
			}
			w.put(records.NameKey(name), []byte(openimds.TypeInstance), nil)
			w.put(records.InstanceIDKey(in.ID), []byte(name), nil)
			attached := openimds.Attachment{Instance: name, Host: a.name, Interface: fmt.Sprintf("tap%d", i), CreatedAt: in.LaunchedAt}
			value, err := records.Encode(&attached)
			w.put(records.AttachmentPrefix+name, value, err)
			value, err = records.Encode([]records.Placed{{Attachment: attached}})
			w.put(records.PlaceKey(&attached), value, err)
			a.instances = append(a.instances, name)
		}
		f.all = append(f.all, a)
	}
	w.commit()
	return f, w.err
}

// filling writes many records, of which many share a commit.
type filling struct {
	ctx   context.Context
	kept  store.Store
	batch []store.Change
	err   error
}

func (w *filling) put(key string, value []byte, err error) {
	if err != nil && w.err == nil {
		w.err = err
	}
	w.batch = append(w.batch, store.Change{Key: key, Value: value, If: store.IfAbsent})
	if len(w.batch) >= 2*fillBatch/5 {
		w.commit()
	}
}

func (w *filling) commit() {
	// In the order of keys, and not too many: bbolt moves what it has in memory of a page for each key before it.
	slices.SortFunc(w.batch, func(a, b store.Change) int { return strings.Compare(a.Key, b.Key) })
	if w.err == nil && len(w.batch) > 0 {
		if _, err := w.kept.Commit(w.ctx, w.batch...); err != nil {
			w.err = fmt.Errorf("filling the store: %w", err)
		}
	}
	w.batch = w.batch[:0]
}
