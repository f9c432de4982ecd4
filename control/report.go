package control

import (
	"context"
	"encoding/json"
	"regexp"
	"time"

	"github.com/openimds/openimds"
)

var digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// SignReport signs the digest of a report, SHA-256 in small hexadecimal digits, for whoever asks. The audit is
// told of it first. What the report says is its author's: the signature says that this installation was given it,
// by whom and when, and that it is unchanged since.
//
// Errors: InvalidInput/Malformed for what is no digest; OperationFailure/NotEnforced in an installation without a
// key for reports.
func (s *Service) SignReport(ctx context.Context, digest string) (openimds.ReportSignature, error) {
	if !digestForm.MatchString(digest) {
		return openimds.ReportSignature{}, openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The digest must be SHA-256 as 64 small hexadecimal digits, not %.100q", digest)
	}
	if s.cfg.Reports == nil {
		return openimds.ReportSignature{}, noReports()
	}
	d := &draft{service: s, now: s.cfg.Now().UTC()}
	d.entries = []openimds.AuditEntry{{Resource: "Report/sha256:" + digest}}
	entries := s.entries(ctx, "SignReport", d)
	if err := s.tellAlone(ctx, entries); err != nil {
		return openimds.ReportSignature{}, err
	}
	signed, err := s.cfg.Reports.SignReport(openimds.ReportStatement{
		Digest: digest, Installation: s.cfg.Region + " " + s.cfg.AccountID, By: actor(ctx), At: d.now,
	})
	if err != nil {
		s.takeBackAlone(ctx, entries, "not signed: "+err.Error())
		return openimds.ReportSignature{}, broken(err)
	}
	return signed, nil
}

// ReportKey is the public key by which reports of this installation are verified.
//
// Errors: OperationFailure/NotEnforced in an installation without one.
func (s *Service) ReportKey() ([]byte, error) {
	if s.cfg.Reports == nil {
		return nil, noReports()
	}
	return s.cfg.Reports.ReportKey(), nil
}

func noReports() error {
	return openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "This installation has no key that signs reports")
}

// OptionsHistory tells the changes of an instance's options and rehearsals since it was made, the earliest first,
// as far as the audit has them, and since when that is.
//
// Errors: NotFound/DoesNotExist; OperationFailure/NotEnforced in an installation without an audit;
// Unavailable/AuditAway when it cannot be read.
func (s *Service) OptionsHistory(ctx context.Context, name string) (changes []openimds.OptionsChange, since time.Time, err error) {
	in, _, err := s.instance(ctx, name)
	if err != nil {
		return nil, time.Time{}, err
	}
	if s.cfg.Changes == nil {
		return nil, time.Time{}, noChangeLog()
	}
	entries, since, err := s.cfg.Changes.Changes(ctx, string(openimds.TypeInstance)+"/"+in.Name)
	if err != nil {
		return nil, time.Time{}, changesAway(err)
	}
	for _, e := range entries {
		if id := member[string](e.After, "id"); id != nil && e.Before["id"] == nil || e.After == nil && e.Before["id"] != nil {
			changes = nil // before that, another instance had the name
		}
		if c, ok := optionsChange(e); ok {
			changes = append(changes, c)
		}
	}
	return changes, since, nil
}

// optionsChange reads a change of options or of a rehearsal from what the audit was told. That options are
// obeyed by now is none.
func optionsChange(e openimds.AuditEntry) (openimds.OptionsChange, bool) {
	c := openimds.OptionsChange{Time: e.When, Who: e.Who, What: e.What}
	c.Before, c.After = member[openimds.MetadataOptions](e.Before, "options"), member[openimds.MetadataOptions](e.After, "options")
	c.Rehearsal = member[openimds.Rehearsal](e.After, "rehearsal")
	if c.Before != nil && c.After != nil {
		was := *c.Before
		was.State = c.After.State
		if was == *c.After {
			c.Before, c.After = nil, nil
		}
	}
	return c, c.After != nil || c.Rehearsal != nil
}

// member is a member of what the audit was told; nil: it is not there, or was too long for the log.
func member[T any](of map[string]any, name string) *T {
	text, err := json.Marshal(of[name])
	if err != nil || of[name] == nil {
		return nil
	}
	v := new(T)
	if json.Unmarshal(text, v) != nil {
		return nil
	}
	return v
}
