package openimds

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
)

// AttachmentPrefix leads the keys of attachments; they go on with the instance's name.
const AttachmentPrefix = "attachment/"

// Attachment says where on a host an instance's guest calls from: an interface, a network namespace or
// a process. It decides who the caller is; nothing in a request does.
type Attachment struct {
	Instance string `json:"instance"`
	// Interface is the host's end of the guest's link: a tap, a veth, a port of a bridge.
	Interface string `json:"interface,omitempty"`
	// Sources, with Interface, are the only addresses whose callers are the instance's. This is only
	// for networks that stop spoofing.
	Sources []netip.Prefix `json:"sources,omitempty"`
	// Netns is a network namespace: a name as of ip-netns(8), or an absolute path.
	Netns string `json:"netns,omitempty"`
	// PID is a process whose network namespace it is. It must have been running at CreatedAt: a
	// later process of that number is another guest.
	PID int `json:"pid,omitempty"`
	// MAC and Alias, with Interface: only a link with this address, or with that of a hypervisor's tap
	// for a guest that has it, and with this alias.
	MAC   string `json:"mac,omitempty"`
	Alias string `json:"ifAlias,omitempty"`
	// ByName takes whatever has the name of the interface or namespace, whoever made it.
	ByName bool `json:"byName,omitempty"`
	// Bound is what was found there first, which it is bound to. Nil: nothing yet, or it goes by name.
	Bound     *Face     `json:"bound,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
}

// Attachments is what carries attachments out on this host.
type Attachments interface {
	// Status says how far the attachment of an instance is: "attached", "waiting", "failed" or
	// "gone", and why if something is amiss.
	Status(instance string) (state, reason string)
	// Guarded lists the places that were attached and are guarded now.
	Guarded() []GuardedPlace
	// Release ends the guard of these places, or of all with no names, and says of which it did.
	Release(names []string) ([]GuardedPlace, error)
	// Found is what is at the place of an instance's attachment now and is not what that is bound to;
	// nil: nothing else is.
	Found(instance string) *Face
}

// Validate refuses an attachment that cannot be carried out, whatever the host.
func (a *Attachment) Validate() error {
	places := 0
	for _, given := range []bool{a.Interface != "", a.Netns != "", a.PID != 0} {
		if given {
			places++
		}
	}
	switch {
	case places != 1:
		return Errorf(InvalidInput, "", "An attachment names one of interface, networkNamespace and processId")
	case a.Interface != "" && ValidateInterface(a.Interface) != nil:
		return ValidateInterface(a.Interface)
	case a.Interface == "lo":
		return Errorf(InvalidInput, "", "The interface lo is the host's own; callers on the host come by --imds-listen")
	case a.Netns != "" && !netnsForm(a.Netns):
		return Errorf(InvalidInput, "", "%.80q is neither the name of a network namespace nor an absolute path", a.Netns)
	case a.PID < 0 || a.PID > 1<<22: // the kernel's own limit (proc(5), pid_max)
		return Errorf(InvalidInput, "", "%d cannot be the id of a process", a.PID)
	case len(a.Sources) > 0 && a.Interface == "":
		return Errorf(InvalidInput, "", "Sources tell the callers of an interface apart; a namespace has one caller")
	case (a.MAC != "" || a.Alias != "") && a.Interface == "":
		return Errorf(InvalidInput, "", "macAddress and ifAlias are marks of an interface; a namespace or process has none")
	case a.ByName && (a.MAC != "" || a.Alias != "" || a.PID != 0):
		return Errorf(InvalidInput, "", "byName takes whatever has the name of an interface or namespace; leave out macAddress, ifAlias and processId")
	case a.MAC != "" && !macForm(a.MAC):
		return Errorf(InvalidInput, "", "%.40q is not a MAC address of the form 52:54:00:12:34:56", a.MAC)
	case len(a.Alias) > 255 || strings.ContainsFunc(a.Alias, unicode.IsControl): // linux/if.h: IFALIASZ
		return Errorf(InvalidInput, "", "%.80q cannot be the alias of an interface", a.Alias)
	case len(a.Sources) > 64:
		return Errorf(InvalidInput, "", "An attachment has at most 64 sources")
	}
	for i, p := range a.Sources {
		if !p.IsValid() || p.Addr().Is4In6() || p != p.Masked() {
			return Errorf(InvalidInput, "", "The source %v is not an address or prefix of IPv4 or IPv6", p)
		}
		if slices.ContainsFunc(a.Sources[:i], p.Overlaps) {
			return Errorf(InvalidInput, "", "The source %v overlaps another one", p)
		}
	}
	return nil
}

// ValidateInterface refuses what the kernel would not have as the name of an interface.
func ValidateInterface(name string) error {
	if name == "" || len(name) > 15 || strings.ContainsAny(name, "/: \t\r\n\x00") || name == "." || name == ".." {
		return Errorf(InvalidInput, "", "%.40q cannot be the name of an interface", name)
	}
	return nil
}

func netnsForm(name string) bool {
	if len(name) > 4096 || strings.ContainsAny(name, "\x00\n\r") {
		return false
	}
	if strings.Contains(name, "/") {
		return filepath.IsAbs(name) && filepath.Clean(name) == name
	}
	return name != "." && name != ".." && len(name) <= 255
}

func macForm(text string) bool {
	hw, err := net.ParseMAC(text)
	return err == nil && len(hw) == 6 && hw.String() == text
}

// samePlace says whether both are at one place, with the same callers.
func (a *Attachment) samePlace(b *Attachment) bool {
	return a.Interface == b.Interface && a.Netns == b.Netns && a.PID == b.PID && slices.Equal(a.Sources, b.Sources)
}

// conflicts says whether one caller could be both.
func (a *Attachment) conflicts(b *Attachment) bool {
	if a.Interface != b.Interface || a.Netns != b.Netns || a.PID != b.PID {
		return false
	}
	return len(a.Sources) == 0 || len(b.Sources) == 0 ||
		slices.ContainsFunc(a.Sources, func(p netip.Prefix) bool { return slices.ContainsFunc(b.Sources, p.Overlaps) })
}

// DecodeAttachment reads an attachment's record.
func DecodeAttachment(r Record) (*Attachment, error) {
	a, schema, err := open[*Attachment](r)
	if err == nil && schema != recordSchema && schema != attachmentSchema {
		err = newerSchema(r, schema)
	}
	if err != nil {
		return nil, err
	}
	if a == nil || AttachmentPrefix+a.Instance != r.Key {
		return nil, errors.New("record " + r.Key + " is damaged: it is not of that instance")
	}
	return a, a.Validate()
}

// AttachInstance attaches an instance to a place of this host. An instance has one attachment; a
// place that another instance has is refused, unless sources tell the two apart. To attach it again to its
// place binds it to what is there now.
func (s *Service) AttachInstance(ctx context.Context, a Attachment) (Operation, error) {
	if s.cfg.Attachments == nil {
		return Operation{}, Errorf(OperationFailure, "", "This server cannot attach instances: it needs Linux and the capabilities CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN; start it as root")
	}
	if err := a.Validate(); err != nil {
		return Operation{}, err
	}
	d, err := s.commit(ctx, "AttachInstance", func(d *draft) error {
		in, instanceWas, err := s.instance(ctx, a.Instance)
		if err != nil {
			return err
		}
		key := AttachmentPrefix + a.Instance
		d.operation(instanceOperation("AttachInstance", in))
		switch was, err := s.store.Get(ctx, key); {
		case err == nil:
			return s.attachAgain(ctx, d, was, a)
		case !errors.Is(err, ErrNoRecord):
			return storeFailed(err)
		}
		a.CreatedAt, a.Bound = d.now, nil
		d.changes = append(d.changes, Change{Verb: Check, Key: instanceWas.Key, If: instanceWas.Revision})
		if err := s.take(ctx, d, &a); err != nil {
			return err
		}
		d.put(Record{Key: key, Revision: IfAbsent}, &a)
		return nil
	})
	if err != nil {
		return Operation{}, err
	}
	return d.operations[0], nil
}

// attachAgain drafts that an instance stays where it is attached, by the marks that are asked for now. If
// something else is there by now, it is bound to that, as the operator says by attaching it again.
func (s *Service) attachAgain(ctx context.Context, d *draft, was Record, a Attachment) error {
	before, err := DecodeAttachment(was)
	if err != nil || !before.samePlace(&a) {
		return Errorf(InvalidInput, "", "The instance %s is attached already; detach it first", a.Instance)
	}
	a.CreatedAt, a.Bound = before.CreatedAt, before.Bound
	state, _ := s.cfg.Attachments.Status(a.Instance)
	found := s.cfg.Attachments.Found(a.Instance)
	switch {
	case a.ByName:
		a.Bound = nil
	case found != nil && (a.MAC != "" || a.Alias != ""):
		a.CreatedAt, a.Bound = d.now, nil // it takes the one with these marks
	case found != nil:
		if err := s.meet(ctx, d, a.Instance, *found); err != nil {
			return err
		}
		a.CreatedAt, a.Bound = d.now, found
	case a.PID != 0 && state != "attached":
		a.CreatedAt = d.now // the process of that number now
	}
	if reflect.DeepEqual(&a, before) {
		return nil
	}
	if err := s.take(ctx, d, &a); err != nil {
		return err
	}
	d.put(was, &a)
	return nil
}

// DetachInstance takes an instance's attachment away; its guest is answered no more.
func (s *Service) DetachInstance(ctx context.Context, name string) (Operation, error) {
	d, err := s.commit(ctx, "DetachInstance", func(d *draft) error {
		in, _, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		was, err := s.store.Get(ctx, AttachmentPrefix+name)
		if errors.Is(err, ErrNoRecord) {
			return Errorf(InvalidInput, "", "The instance %s is not attached", name)
		}
		if err != nil {
			return storeFailed(err)
		}
		if err := s.leave(ctx, d, was); err != nil {
			return err
		}
		d.operation(instanceOperation("DetachInstance", in))
		return nil
	})
	if err != nil {
		return Operation{}, err
	}
	return d.operations[0], nil
}

// Attachments lists the attachments, in the order of the instances' names. Those that cannot be read
// are left out.
func (s *Service) Attachments(ctx context.Context) ([]*Attachment, error) {
	page, err := s.store.List(ctx, Range{Prefix: AttachmentPrefix})
	if err != nil {
		return nil, storeFailed(err)
	}
	all := make([]*Attachment, 0, len(page.Records))
	for _, r := range page.Records {
		if a, err := DecodeAttachment(r); err == nil {
			all = append(all, a)
		}
	}
	return all, nil
}

// AttachmentStatus says how far this host is with an instance's attachment.
func (s *Service) AttachmentStatus(instance string) (state, reason string) {
	if s.cfg.Attachments == nil {
		return "failed", "this server cannot attach instances"
	}
	return s.cfg.Attachments.Status(instance)
}

// FoundInstead is what is at the place of an instance's attachment and is not what that is bound to; nil:
// nothing else is.
func (s *Service) FoundInstead(instance string) *Face {
	if s.cfg.Attachments == nil {
		return nil
	}
	return s.cfg.Attachments.Found(instance)
}

// removeAttachment removes the attachment of an instance that is deleted in the same commit; an instance of
// the same name, later, is not attached.
func (s *Service) removeAttachment(ctx context.Context, d *draft, name string) error {
	was, err := s.store.Get(ctx, AttachmentPrefix+name)
	switch {
	case errors.Is(err, ErrNoRecord):
		d.changes = append(d.changes, Change{Verb: Check, Key: AttachmentPrefix + name, If: IfAbsent})
	case err != nil:
		return storeFailed(err)
	default:
		return s.leave(ctx, d, was)
	}
	return nil
}
