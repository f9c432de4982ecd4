package metadata

import (
	"bytes"
	"cmp"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
)

// Limits of a recording. It is part of an instance's record, and each host keeps it in memory.
const (
	MaxRecordedItems = 2048
	MaxRecordedBytes = 256 << 10 // bytes of all paths, types and bodies
)

// latest is the version that is recorded. It stands for all versions that the recorded list has.
const latest = "latest"

// contentTypeForm is what may stand in the header of an answer.
var contentTypeForm = regexp.MustCompile(`^[a-zA-Z0-9!#$&^_.+-]{1,60}/[a-zA-Z0-9!#$&^_.+-]{1,60}(;[ -~]{0,60})?$`)

// ValidateRecording refuses a recording that could not be served as it stands.
func ValidateRecording(r *openimds.Recording) error {
	if len(r.Items) > MaxRecordedItems || r.Size() > MaxRecordedBytes {
		return refuse(openimds.TooLarge, "the recording has %d items of %d bytes in all, at most %d of %d bytes are allowed",
			len(r.Items), r.Size(), MaxRecordedItems, MaxRecordedBytes)
	}
	if len(r.Source) > MaxOverlayPath {
		return refuse(openimds.TooLarge, "the source of the recording has more than %d bytes", MaxOverlayPath)
	}
	items := make(map[string]*openimds.RecordedItem, len(r.Items))
	for i := range r.Items {
		it := &r.Items[i]
		if err := ValidateRecordedItem(it); err != nil {
			return err
		}
		if items[it.Path] != nil {
			return refuse(openimds.Duplicate, "the recording has %q twice", it.Path)
		}
		items[it.Path] = it
	}
	for at := range items {
		for parent := at; parent != ""; {
			if parent = parentOf(parent); items[parent] != nil && !items[parent].Listing {
				return refuse(openimds.Conflicting, "the recording has %q below %q, which is not a listing", at, parent)
			}
		}
	}
	switch root, top := items[""], items[latest]; {
	case root == nil || !hasLine(root.Body, latest):
		return refuse(openimds.Incomplete, `the recording has no list of versions with "latest" in it`)
	case top == nil || len(top.Body) == 0:
		return refuse(openimds.Incomplete, "the recording has no listing of latest/")
	}
	return nil
}

// ValidateRecordedItem refuses an item that could not be served, wherever it stands.
func ValidateRecordedItem(it *openimds.RecordedItem) error {
	switch it.State {
	case "", openimds.RecordedBlanked:
		if !contentTypeForm.MatchString(it.ContentType) {
			return refuse(openimds.Malformed, "the recorded item %.200q has the content type %.100q, which is none", it.Path, it.ContentType)
		}
	case openimds.RecordedAbsent, openimds.RecordedWithheld:
		if len(it.Body) > 0 || it.Listing {
			return refuse(openimds.Conflicting, "the recorded item %.200q is %s and has a body or is a listing", it.Path, it.State)
		}
	default:
		return refuse(openimds.UnknownValue, "the recorded item %.200q has the unknown state %.40q", it.Path, it.State)
	}
	if year := it.Modified.Year(); year > 9999 || year < 1 {
		return refuse(openimds.OutOfRange, "the recorded item %.200q was modified in the year %d", it.Path, year)
	}
	switch below, ok := strings.CutPrefix(it.Path, latest+"/"); {
	case ok:
		if err := validateOverlayPath(below); err != nil {
			return refuse(openimds.Malformed, "%s", strings.Replace(err.Error(), "overlay path", "the recorded path", 1))
		}
		return nil
	case it.Path != "" && it.Path != latest:
		return refuse(openimds.Conflicting, `the recorded item %.200q lies neither at the root nor below "latest"`, it.Path)
	case !it.Listing:
		return refuse(openimds.Incomplete, "the recorded item %q is not a listing", it.Path)
	}
	return nil
}

// Recorded is the recording of one instance, made ready for answers: what was recorded, under what
// the instance has to say today, under its overlay. It is not changed once made.
type Recorded struct {
	root     place
	versions map[string]bool
	places   map[string]*place // by path below the version
	now      time.Time         // of the instance's latest change
}

// place is what one path answers.
type place struct {
	listing bool
	item    Item
	row     *row // makes the item instead, for secrets are not recorded; nil: item is the answer
}

// NewRecorded makes the instance's recording ready; without one it returns nil.
func NewRecorded(in *openimds.Instance) *Recorded {
	if in.Recording == nil {
		return nil
	}
	r := &Recorded{versions: map[string]bool{}, places: make(map[string]*place, len(in.Recording.Items)), now: in.ModifiedAt}
	for i := range in.Recording.Items {
		it := &in.Recording.Items[i]
		p := place{listing: it.Listing, item: Item{Body: it.Body, ContentType: it.ContentType, Modified: it.Modified}}
		if p.item.Modified.IsZero() {
			p.item.Modified = in.Recording.RecordedAt
		}
		below, _ := strings.CutPrefix(it.Path, latest)
		switch {
		case it.Path == "":
			r.root = p
			for _, version := range linesOf(it.Body) {
				r.versions[version] = true
			}
		case it.State == openimds.RecordedAbsent || it.State == openimds.RecordedWithheld:
		default:
			below = strings.TrimPrefix(below, "/")
			if it.State == openimds.RecordedBlanked {
				p.row = credentialRow(below)
			}
			r.places[below] = &p
		}
	}
	r.announce(in)
	r.overlay(in.Overlay)
	return r
}

// credentialRow is the row of the table that has the credentials at the path; nil: none has.
func credentialRow(at string) *row {
	const roles, extended = "meta-data/iam/security-credentials", "meta-data/iam/security-credentials-extended"
	if parent := parentOf(at); parent == roles || parent == extended {
		at = parent + "/{role}"
	}
	for i := range credentialRows {
		if credentialRows[i].Path == at {
			return &credentialRows[i]
		}
	}
	return nil
}

func (r *Recorded) get(v *View, at string) (Item, bool) {
	version, below, _ := strings.Cut(at, "/")
	p := &r.root
	if at != "" {
		if p = r.places[below]; p == nil || !r.versions[version] {
			return Item{}, false
		}
	}
	if p.row != nil {
		it, ok := (&request{view: v}).value(p.row, Item{ContentType: p.item.ContentType, Modified: p.item.Modified}, args{})
		return v.finish(it), ok
	}
	it := p.item
	it.Body, it.Listing = bytes.Clone(it.Body), p.listing
	return v.finish(it), true
}

// announce lays over the recording what the instance has to say beside it: its events, what they make
// it be, and the user data that it was given itself.
func (r *Recorded) announce(in *openimds.Instance) {
	v := &View{Instance: in}
	for i := range instanceRows {
		row := &instanceRows[i]
		if row.OverRecording == nil || !row.OverRecording(in) {
			continue
		}
		it := row.Value(Item{ContentType: cmp.Or(row.ContentType, textPlain), Modified: in.ModifiedAt}, v, args{})
		if len(it.Body) > 0 {
			r.set(row.Path, it)
		} else {
			r.remove(row.Path)
		}
	}
}

func (r *Recorded) overlay(overlay map[string]*string) {
	paths := slices.Sorted(maps.Keys(overlay))
	paths = slices.DeleteFunc(paths, func(p string) bool { return !isPath(p) })
	for _, at := range paths {
		if overlay[at] == nil {
			r.remove(at)
		}
	}
	for _, at := range paths {
		if value := overlay[at]; value != nil {
			it := Item{Body: []byte(*value), ContentType: textPlain, Modified: r.now}
			if at == "user-data" {
				it.ContentType = octetStream
			}
			r.set(at, it)
		}
	}
}

// set puts a value at a path, in place of all that was there and below.
func (r *Recorded) set(at string, it Item) {
	r.drop(at)
	r.places[at] = &place{item: it}
	r.list(at)
}

// remove takes away what is at a path and below.
func (r *Recorded) remove(at string) {
	r.drop(at)
	r.unlist(at)
}

// unlist takes a path out of the directory above it, and a directory that lists nothing then out of
// the one above that.
func (r *Recorded) unlist(at string) {
	parent := parentOf(at)
	p := r.places[parent]
	if at == "" || p == nil || !p.listing {
		return
	}
	lines := linesOf(p.item.Body)
	kept := slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return nameOf(parent, line) == path.Base(at) })
	switch {
	case len(kept) == 0:
		delete(r.places, parent)
		r.unlist(parent)
	case len(kept) < len(lines):
		r.relist(parent, p, kept)
	}
}

func (r *Recorded) drop(at string) {
	maps.DeleteFunc(r.places, func(p string, _ *place) bool { return at == "" || within(p, at) })
}

// list makes the directories above a path list it, and makes those that are not there.
func (r *Recorded) list(at string) {
	for at != "" {
		parent, line := parentOf(at), path.Base(at)
		if r.places[at].listing && parent != "" { // "dynamic" and "meta-data" have no slash
			line += "/"
		}
		p := r.places[parent]
		if p == nil || !p.listing {
			p = &place{listing: true, item: Item{ContentType: textPlain}}
			r.places[parent] = p
		}
		lines := linesOf(p.item.Body)
		i := slices.IndexFunc(lines, func(l string) bool { return nameOf(parent, l) == path.Base(at) })
		switch {
		case i < 0:
			i = slices.IndexFunc(lines, func(l string) bool { return l > line })
			if i < 0 {
				i = len(lines)
			}
			r.relist(parent, p, slices.Insert(lines, i, line))
		case lines[i] != line && !(r.places[at].listing && isLabel(parent, lines[i])):
			lines[i] = line
			r.relist(parent, p, lines)
		}
		at = parent
	}
}

// relist gives a directory another listing, which ends as the one before. That one may be the
// recording's own, which is not changed.
func (r *Recorded) relist(at string, p *place, lines []string) {
	end := ""
	if bytes.HasSuffix(p.item.Body, []byte("\n")) || len(p.item.Body) == 0 && within(at, "dynamic") {
		end = "\n"
	}
	p.item.Body = []byte(strings.Join(lines, "\n") + end)
	p.item.Modified = r.now
}

// linesOf are the lines of a listing.
func linesOf(body []byte) []string {
	if len(body) == 0 {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\r")
	}
	return lines
}

func hasLine(body []byte, line string) bool { return slices.Contains(linesOf(body), line) }

// nameOf is the name of which a line of a listing tells.
func nameOf(dir, line string) string {
	if isLabel(dir, line) {
		line, _, _ = strings.Cut(line, "=")
	}
	return strings.TrimSuffix(line, "/")
}

// isLabel says whether a line shows more than a name: keys are listed as "0=name".
func isLabel(dir, line string) bool {
	return dir == "meta-data/public-keys" && strings.Contains(line, "=")
}

func parentOf(at string) string {
	if i := strings.LastIndexByte(at, '/'); i >= 0 {
		return at[:i]
	}
	return ""
}
