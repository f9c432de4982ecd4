// Package credentials gives the roles of instances their credentials: of AWS's own configuration, of a
// program, of STS, or made up. Whoever serves them reads them from memory, at once.
package credentials

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/credentials/generated"
)

// AnyRole is the role name that stands for all that have no source of their own.
const AnyRole = "*"

// Sources gives each role the credentials of its source, and roles without one what [generated.Source] makes.
// The sets of the instances that it keeps are fetched before they are needed and fetched anew in the
// background; a request only reads what is there.
type Sources struct {
	tell   *teller
	now    func() time.Time
	byRole map[string]*Source
	ctx    context.Context
	stop   context.CancelFunc
	fetchs sync.WaitGroup

	mu   sync.Mutex
	kept map[string][]*held // by instance id: what runs for it
	held sync.Map           // key → *held
}

// key is what a set is kept under. A source that knows no instances has one set for all of them.
type key struct {
	source   *Source
	instance string
	set      openimds.CredentialSet
}

// NewSources makes the sources of roles, by role name; [AnyRole] stands for the others.
func NewSources(byRole map[string]*Source, log *slog.Logger) *Sources {
	ctx, stop := context.WithCancel(context.Background())
	return &Sources{tell: newTeller(log), now: time.Now, byRole: byRole, ctx: ctx, stop: stop, kept: make(map[string][]*held)}
}

// source finds the source of an instance's role; nil is generated.Source.
func (s *Sources) source(in *openimds.Instance) *Source {
	if in.Role == nil {
		return nil
	}
	if source, ok := s.byRole[in.Role.Name]; ok {
		return source
	}
	return s.byRole[AnyRole]
}

// Keep begins to fetch what the instance will ask for, and ends fetching what it will not any more. It
// does not wait. It must be called when an instance comes to this host and at each change of its role.
func (s *Sources) Keep(in *openimds.Instance) {
	source := s.source(in)
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.kept[in.ID]
	delete(s.kept, in.ID)
	if source != nil {
		for _, set := range []openimds.CredentialSet{openimds.RoleForV1, openimds.RoleForV2} {
			s.kept[in.ID] = append(s.kept[in.ID], s.hold(source.key(in, set), in))
		}
	}
	// Released after the new ones are held, so that what is in both is not fetched anew.
	s.release(was)
}

// Ready waits until the first attempt to fetch what a kept instance will ask for has ended, and says how
// it went. It is for who would rather not begin than begin without credentials.
func (s *Sources) Ready(ctx context.Context, in *openimds.Instance) error {
	s.mu.Lock()
	kept := s.kept[in.ID]
	s.mu.Unlock()
	for _, h := range kept {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.tried:
			if h.firstErr != nil {
				return h.firstErr
			}
		}
	}
	return nil
}

// Drop ends the fetching for an instance that has left this host.
func (s *Sources) Drop(instanceID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(s.kept[instanceID])
	delete(s.kept, instanceID)
}

// hold finds or begins the fetching of a set. The caller has the lock.
func (s *Sources) hold(k key, in *openimds.Instance) *held {
	if there, ok := s.held.Load(k); ok {
		h := there.(*held)
		h.users++
		return h
	}
	ctx, stop := context.WithCancel(s.ctx)
	h := &held{key: k, users: 1, stop: stop, now: s.now, tried: make(chan struct{})}
	s.held.Store(k, h)
	s.fetchs.Go(func() { h.run(ctx, in, s.tell) })
	return h
}

// release gives back what an instance held. The caller has the lock.
func (s *Sources) release(all []*held) {
	for _, h := range all {
		if h.users--; h.users == 0 {
			h.stop()
			s.held.Delete(h.key)
		}
	}
}

// Stop ends all fetching, without waiting for that. What was fetched is still served.
func (s *Sources) Stop() { s.stop() }

// Close ends all fetching, within two seconds.
func (s *Sources) Close() {
	s.stop()
	s.fetchs.Wait()
}

// Held says how many sets are kept for each source, and in which state: "fresh"; "stale" if one could
// not be renewed, but has not ended; "none" if there is nothing to give.
func (s *Sources) Held() map[HeldState]int {
	states := map[HeldState]int{}
	now := s.now()
	s.held.Range(func(_, there any) bool {
		h := there.(*held)
		state := "none"
		if c := h.current.Load(); c != nil && now.Before(c.Expiration) {
			state = "fresh"
			if h.failed.Load() != nil {
				state = "stale"
			}
		}
		states[HeldState{h.key.source.name, state}]++
		return true
	})
	return states
}

// HeldState is a source, and how it is with sets of its.
type HeldState struct{ Source, State string }

// Real says whether any role's credentials come from where real ones do.
func Real(byRole map[string]*Source) bool {
	for _, source := range byRole {
		if source != nil {
			return true
		}
	}
	return false
}

// Credentials implements [openimds.CredentialSource].
func (s *Sources) Credentials(in *openimds.Instance, set openimds.CredentialSet, now time.Time) openimds.RoleCredentials {
	source := s.source(in)
	// The instance's own set opens nothing at AWS either.
	if set == openimds.InstanceIdentity || source == nil {
		return generated.Source{}.Credentials(in, set, now)
	}
	there, ok := s.held.Load(source.key(in, set))
	if !ok {
		return unavailable(in.Role.Name, now)
	}
	h := there.(*held)
	if c := h.current.Load(); c != nil && now.Before(c.Expiration) {
		return *c
	}
	if failed := h.failed.Load(); failed != nil {
		return unavailable(in.Role.Name, *failed)
	}
	return unavailable(in.Role.Name, now)
}

// unavailable is the document that EC2 serves when it cannot get the role's credentials.
func unavailable(role string, at time.Time) openimds.RoleCredentials {
	return openimds.RoleCredentials{
		Code: openimds.CredentialsUnauthorized,
		Message: fmt.Sprintf("EC2 cannot assume the role %s.  Please see documentation at "+
			"https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html#troubleshoot_iam-ec2_errors-info-doc.", role),
		LastUpdated: at.UTC().Truncate(time.Second),
	}
}
