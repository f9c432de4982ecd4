package control

import (
	"context"
	"errors"
	"path"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// TreeKind is what stands at a path of a guest's tree.
type TreeKind string

// The kinds. What is Absent is listed, and asking for it finds nothing, as AWS does with user data.
const (
	TreeDirectory TreeKind = "directory"
	TreeValue     TreeKind = "value"
	TreeSecret    TreeKind = "secret"
	TreeAbsent    TreeKind = "absent"
)

// TreeEntry is one path below the version.
type TreeEntry struct {
	Path string
	Kind TreeKind
	// Value is what the guest reads; nil: it is a directory, absent, or a secret that was not asked for.
	Value []byte
	Doc   string // what the table says of it
}

// Tree is what a guest would be answered at a path: all that a directory lists, or the value itself.
type Tree struct {
	// Status is that of the answer, as HTTP has it; 0: nobody would answer, as the instance does not run. There
	// are entries with 200 only.
	Status  int
	Entries []TreeEntry
	// Versions are those that the guest is listed, asked for with the tree of one; nil: it is listed none.
	Versions []string
}

// MetadataTree tells what the guest of an instance would be answered at a path below a version, by version 1 of the
// service or 2, with the options that it has: the answers are the guest side's own. Secrets are told only to who has
// them revealed, of which the audit is told first.
//
// Errors: NotFound/DoesNotExist; OperationFailure/NotEnforced in a process without a guest side.
func (s *Service) MetadataTree(ctx context.Context, name, version, at string, v2, reveal bool) (Tree, error) {
	in, _, err := s.instance(ctx, name)
	if err != nil {
		return Tree{}, err
	}
	if s.cfg.Guests == nil {
		return Tree{}, openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "This process answers no guests, so it cannot tell what they would be answered")
	}
	if err := records.LoadRecording(ctx, s.store, in, nil); errors.Is(err, store.ErrNoRecord) {
		return Tree{}, openimds.Errorf(openimds.Unavailable, openimds.Contended, "The recording of %s is being changed; try again", in.Name).Because(err)
	} else if err != nil {
		return Tree{}, storeFailed(err)
	}
	at = strings.Trim(path.Clean("/"+at), "/")
	if reveal {
		d := &draft{service: s, now: s.cfg.Now().UTC()}
		d.entries = []openimds.AuditEntry{{Resource: string(openimds.TypeInstance) + "/" + in.Name, After: map[string]any{"revealed": version + "/" + at}}}
		if err := s.tellAlone(ctx, s.entries(ctx, "GetMetadataTree", d)); err != nil {
			return Tree{}, err
		}
	}
	tree, err := s.treeOf(in, version, at, v2, reveal)
	if err == nil && at == "" {
		tree.Versions, err = s.versionsOf(in)
	}
	return tree, err
}

// versionsOf lists the versions to who has a token: which there are does not depend on that.
func (s *Service) versionsOf(in *openimds.Instance) ([]string, error) {
	answers, err := s.cfg.Guests.Look(in, true, "")
	if err != nil {
		return nil, broken(err)
	}
	if answers[0].Status != 200 {
		return nil, nil
	}
	return strings.Fields(string(answers[0].Body)), nil
}

func (s *Service) treeOf(in *openimds.Instance, version, at string, v2, reveal bool) (Tree, error) {
	look := func(paths ...string) ([]openimds.GuestAnswer, error) {
		all := make([]string, len(paths))
		for i, p := range paths {
			all[i] = strings.TrimSuffix(version+"/"+p, "/")
		}
		answers, err := s.cfg.Guests.Look(in, v2, all...)
		if err != nil {
			return nil, broken(err)
		}
		return answers, nil
	}
	answers, err := look(at)
	if err != nil {
		return Tree{}, err
	}
	tree := Tree{Status: answers[0].Status}
	switch {
	case tree.Status != 200:
		return tree, nil
	case !answers[0].Listing:
		tree.Entries = []TreeEntry{treeEntry(at, answers[0], reveal)}
		return tree, nil
	}
	paths := metadata.Children(at, answers[0].Body)
	for i, name := range paths {
		paths[i] = strings.TrimPrefix(at+"/"+name, "/")
	}
	if answers, err = look(paths...); err != nil {
		return Tree{}, err
	}
	for i, a := range answers {
		tree.Entries = append(tree.Entries, treeEntry(paths[i], a, reveal))
	}
	return tree, nil
}

func treeEntry(at string, a openimds.GuestAnswer, reveal bool) TreeEntry {
	about := metadata.Describe(at)
	e := TreeEntry{Path: at, Kind: TreeValue, Doc: about.Doc}
	switch {
	case a.Status != 200:
		e.Kind = TreeAbsent
	case a.Listing:
		e.Kind = TreeDirectory
	case about.Secret:
		if e.Kind = TreeSecret; reveal {
			e.Value = a.Body
		}
	default:
		e.Value = a.Body
	}
	return e
}
