package imdstest

import (
	"context"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

// Change makes a change of the instance through the service's own rules, for what no other method
// does: tags, stop and start, scheduled events. It returns when the next request obeys.
func (s *Server) Change(change func(ctx context.Context, service *control.Service, name string) error) {
	s.t.Helper()
	ctx, done := context.WithTimeout(context.Background(), patience)
	defer done()
	err := change(ctx, s.service, s.name)
	if err == nil {
		err = s.side.Settle(ctx, s.name)
	}
	if err != nil {
		s.t.Fatalf("imdstest: %v", err)
	}
}

// SetOptions changes the metadata options; what is left out stays as it is.
func (s *Server) SetOptions(o Options) {
	s.t.Helper()
	s.Change(func(ctx context.Context, service *control.Service, name string) error {
		_, err := service.UpdateOptions(ctx, name, o.update())
		return err
	})
}

// Set gives a path a value, whatever was there: a path below the version, like "meta-data/ami-id".
func (s *Server) Set(path, value string) {
	s.t.Helper()
	s.setInstance(path, control.InstanceUpdate{Overlay: map[string]*string{path: &value}})
}

// Remove makes a path and what is below it absent.
func (s *Server) Remove(path string) {
	s.t.Helper()
	s.setInstance(path, control.InstanceUpdate{Overlay: map[string]*string{path: nil}})
}

// Restore takes back what [Server.Set], [Server.Remove] or [Instance] did to a path.
func (s *Server) Restore(path string) {
	s.t.Helper()
	s.setInstance(path, control.InstanceUpdate{OverlayRemove: []string{path}})
}

// SetUserData changes the user data; empty, there is none.
func (s *Server) SetUserData(data string) {
	s.t.Helper()
	content := []byte(data)
	s.setInstance("", control.InstanceUpdate{UserData: &content})
}

func (s *Server) setInstance(path string, u control.InstanceUpdate) {
	s.t.Helper()
	s.Change(func(ctx context.Context, service *control.Service, name string) error {
		if err := checkPath(path); err != nil {
			return err
		}
		_, err := service.SetInstance(ctx, name, u)
		return err
	})
}

// SetCredentials changes what the instance's role gives to the program. The zero value is: some that
// look real and open nothing.
func (s *Server) SetCredentials(c Credentials) {
	s.t.Helper()
	s.Change(func(ctx context.Context, service *control.Service, name string) error {
		in, err := service.Instance(ctx, name)
		if err != nil {
			return err
		}
		return s.credentials.set(c, in)
	})
}

// InterruptSpot announces that the instance will be interrupted at that time, which lies in the
// future: action is "terminate", "stop" or "hibernate".
func (s *Server) InterruptSpot(action string, at time.Time) {
	s.t.Helper()
	s.updateEvents(control.EventsUpdate{Spot: &openimds.SpotInterruption{Action: action, Time: at}})
}

// RecommendRebalance tells the instance at that time that it is likely to be interrupted.
func (s *Server) RecommendRebalance(at time.Time) {
	s.t.Helper()
	s.updateEvents(control.EventsUpdate{RebalanceAt: &at})
}

// ClearEvents takes back all that was announced.
func (s *Server) ClearEvents() {
	s.t.Helper()
	s.updateEvents(control.EventsUpdate{Clear: control.EventKinds()})
}

func (s *Server) updateEvents(u control.EventsUpdate) {
	s.t.Helper()
	s.Change(func(ctx context.Context, service *control.Service, name string) error {
		_, err := service.UpdateEvents(ctx, name, u)
		return err
	})
}

// SetFaults makes requests meet what AWS does not do on a good day, in place of any faults so far: a latency, a
// status, a reset or silence for a share of them, expired credentials. The zero value ends them. On may be a path
// ("meta-data/iam"). With Until (within a week) or Count they end by themselves.
// A request that got no answer is among [Server.Requests] with the status 0.
func (s *Server) SetFaults(f openimds.Faults) {
	s.t.Helper()
	u := control.FaultsUpdate{
		Clear: true, LatencyMillis: &f.LatencyMillis, JitterMillis: &f.JitterMillis, Status: &f.Status,
		RefuseShare: &f.RefuseShare, DropShare: &f.DropShare, ExpiredCredentials: &f.ExpiredCredentials, AbsentSeconds: &f.AbsentSeconds,
	}
	if f.On != "" {
		u.On = &f.On
	}
	if f.StatusShare != 0 { // left out, it is every request
		u.StatusShare = &f.StatusShare
	}
	if f.LatencyShare != 0 {
		u.LatencyShare = &f.LatencyShare
	}
	if !f.Until.IsZero() {
		u.ForMillis = new(int(max(time.Until(f.Until)/time.Millisecond, 1)))
	}
	if f.Count != 0 {
		u.Count = &f.Count
	}
	s.Change(func(ctx context.Context, service *control.Service, name string) error {
		_, err := service.UpdateFaults(ctx, name, u)
		return err
	})
}

// Instance tells what the instance is now, with all that was made up for it; without its credentials.
func (s *Server) Instance() Instance {
	s.t.Helper()
	in, err := s.service.Instance(context.Background(), s.name)
	if err != nil {
		s.t.Fatalf("imdstest: %v", err)
		return Instance{}
	}
	return instanceOf(in)
}
