package hostdoor

import (
	"errors"

	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/records"
)

// unread is what a host is told of an instance that it may have, and goes on with: only that it is gone, once it is.
func (s *stream) unread(x *index, instance, recording string) []hostlink.Record {
	s.told[x][instance] = toldOf{recording: recording}
	return []hostlink.Record{
		{Region: x.region.Name, Key: records.InstancePrefix + instance, Unread: true},
		{Region: x.region.Name, Key: records.AttachmentPrefix + instance, Unread: true},
	}
}

// errUnread says that an attachment cannot be read, so that it is not known whose the instance is now.
var errUnread = errors.New("the attachment cannot be read")
