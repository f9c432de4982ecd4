package control

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// maxReported is how many statuses one commit tells, in two changes each; see maxEnded.
const maxReported = 40

// ReportAttachments keeps how far attachments of this service's host are, as long as the host's lease lasts.
// What is of an earlier attachment, or known already, changes nothing.
func (s *Service) ReportAttachments(ctx context.Context, lease store.Lease, all []openimds.AttachmentStatus) error {
	for len(all) > 0 {
		n := min(len(all), maxReported)
		_, err := s.commit(ctx, "ReportAttachments", func(d *draft) error {
			for _, status := range all[:n] {
				if err := s.report(ctx, d, lease, status); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

func (s *Service) report(ctx context.Context, d *draft, lease store.Lease, status openimds.AttachmentStatus) error {
	attached, err := s.store.Get(ctx, records.AttachmentPrefix+status.Instance)
	if errors.Is(err, store.ErrNoRecord) {
		return nil
	}
	if err != nil {
		return storeFailed(err)
	}
	a, err := records.DecodeAttachment(attached)
	if err != nil || a.Host != s.cfg.Host || !a.CreatedAt.Equal(status.CreatedAt) {
		return nil
	}
	was, err := s.store.Get(ctx, records.StatusKey(status.Instance))
	switch {
	case errors.Is(err, store.ErrNoRecord):
		was = store.Record{Key: records.StatusKey(status.Instance)}
	case err != nil:
		return storeFailed(err)
	default:
		known, err := records.Decode[openimds.AttachmentStatus](was)
		known.At = time.Time{}
		if err == nil && was.Lease == lease && reflect.DeepEqual(known, status) {
			return nil
		}
	}
	status.At = d.now
	was.Lease = lease
	d.note(was, status)
	d.changes = append(d.changes, store.Change{Verb: store.Check, Key: attached.Key, If: attached.Revision})
	return nil
}

// AttachmentStatuses says how far the hosts are with attachments, in their order: "attached", "waiting", "failed"
// or "gone", and why if something is amiss; "unknown" where the host is not there. It also says which of their guests
// have the same address.
func (s *Service) AttachmentStatuses(ctx context.Context, all []*openimds.Attachment) ([]openimds.AttachmentStatus, error) {
	if len(all) == 0 {
		return nil, nil
	}
	told, err := s.store.List(ctx, store.Range{Prefix: records.StatusPrefix})
	if err != nil {
		return nil, storeFailed(err)
	}
	there, err := s.store.List(ctx, store.Range{Prefix: records.HostPrefix})
	if err != nil {
		return nil, storeFailed(err)
	}
	byKey := make(map[string]store.Record, len(told.Records)+len(there.Records))
	for _, r := range told.Records {
		byKey[r.Key] = r
	}
	for _, r := range there.Records {
		byKey[r.Key] = r
	}
	statuses, shared := make([]openimds.AttachmentStatus, 0, len(all)), sharedClaims(all)
	for _, a := range all {
		status, known := heldStatus(a)
		if !known {
			status, known = s.ownStatus(a)
		}
		if !known {
			status = statusOf(a, byKey[records.HostKey(a.Host)], byKey[records.StatusKey(a.Instance)])
		}
		if also := shared[a.Instance]; also != "" && status.Reason != "" {
			status.Reason += "; " + also
		} else if also != "" {
			status.Reason = also
		}
		statuses = append(statuses, status)
	}
	return statuses, nil
}

// attachmentStatus is AttachmentStatuses of one, which costs as much however many there are.
func (s *Service) attachmentStatus(ctx context.Context, a *openimds.Attachment) (openimds.AttachmentStatus, error) {
	if held, known := heldStatus(a); known {
		return held, nil
	}
	if own, known := s.ownStatus(a); known {
		return own, nil
	}
	host, err := s.store.Get(ctx, records.HostKey(a.Host))
	if err != nil && !errors.Is(err, store.ErrNoRecord) {
		return openimds.AttachmentStatus{}, storeFailed(err)
	}
	told, err := s.store.Get(ctx, records.StatusKey(a.Instance))
	if err != nil && !errors.Is(err, store.ErrNoRecord) {
		return openimds.AttachmentStatus{}, storeFailed(err)
	}
	return statusOf(a, host, told), nil
}

// ownStatus is what this host knows of its own attachment, also while the store takes no changes; false: nothing.
func (s *Service) ownStatus(a *openimds.Attachment) (openimds.AttachmentStatus, bool) {
	if a.Host != s.cfg.Host || s.cfg.Attachments == nil {
		return openimds.AttachmentStatus{}, false
	}
	status, known := s.cfg.Attachments.Status(a.Instance, a.CreatedAt)
	status.At = s.cfg.Now().UTC()
	return status, known
}

// heldStatus is that of an attachment that another host has yet to let go of; false: none has.
func heldStatus(a *openimds.Attachment) (openimds.AttachmentStatus, bool) {
	if len(a.From) == 0 {
		return openimds.AttachmentStatus{}, false
	}
	return openimds.AttachmentStatus{
		Instance: a.Instance, CreatedAt: a.CreatedAt, State: "waiting",
		Reason: "it was moved, and begins here once it is let go of by " + strings.Join(a.From, ", ") + ", or that host is gone for " + openimds.Brief(HostTTL),
	}, true
}

// statusOf tells the status of an attachment from the records of its host and of what that has told.
func statusOf(a *openimds.Attachment, host, told store.Record) openimds.AttachmentStatus {
	status := openimds.AttachmentStatus{Instance: a.Instance, CreatedAt: a.CreatedAt}
	h, err := records.Decode[records.Host](host)
	if host.Key == "" || err != nil {
		status.State, status.Reason = openimds.AttachmentUnknown, "the host "+a.Host+" is not there"
		return status
	}
	if !h.Attaches {
		status.State, status.Reason = "failed", cmp.Or(h.Why, "this server cannot attach instances")
		return status
	}
	known, err := records.Decode[openimds.AttachmentStatus](told)
	if told.Key == "" || err != nil || !known.CreatedAt.Equal(a.CreatedAt) || told.Lease != host.Lease {
		status.State, status.Reason = "waiting", "it is being attached"
		return status
	}
	return known
}
