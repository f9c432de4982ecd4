package server

import (
	"context"
	"fmt"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/within"
)

// UnservedRegion is a region that the data directory has instances of, and the server was not told to serve.
type UnservedRegion struct {
	Region      string
	Instances   int
	Attachments int // of the instances, whose guests are not answered
}

// String is a line for people.
func (u UnservedRegion) String() string {
	return fmt.Sprintf("the region %s (instances: %d, of these attached: %d); give its name too, to serve it", u.Region, u.Instances, u.Attachments)
}

// Unserved are the regions with instances that were there at the start and are not served, in the order of their names
// behind the one that the data directory began with.
func (s *Server) Unserved() []UnservedRegion { return s.unserved }

// findUnserved counts what is there of regions that are not served. The rules are not asked: they are of regions that are.
func (s *Server) findUnserved(ctx context.Context) error {
	further, err := records.FurtherRegions(ctx, s.store)
	if err != nil {
		return err
	}
	there := append([]string{s.homeName}, further...)
	for _, name := range there {
		if s.serves(name) {
			continue
		}
		var kept store.Store = s.store
		if name != s.homeName {
			kept = within.New(s.store, records.RegionKey(name))
		}
		u := UnservedRegion{Region: name}
		for prefix, n := range map[string]*int{records.InstancePrefix: &u.Instances, records.AttachmentPrefix: &u.Attachments} {
			page, err := kept.List(ctx, store.Range{Prefix: prefix})
			if err != nil {
				return err
			}
			*n = len(page.Records)
		}
		if u.Instances > 0 {
			s.unserved = append(s.unserved, u)
		}
	}
	return nil
}

func (s *Server) serves(region string) bool {
	for _, r := range s.regions {
		if r.region == region {
			return true
		}
	}
	return false
}

// warnUnserved tells the log of regions whose instances nobody would miss otherwise until their guests do.
func (s *Server) warnUnserved() {
	for _, u := range s.unserved {
		s.log.Warn("a region has instances and is not served: give its name too, to serve it", "region", u.Region, "instances", u.Instances, "attachments", u.Attachments)
	}
}
