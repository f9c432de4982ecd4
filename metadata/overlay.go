package metadata

import (
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/openimds/openimds"
)

// Limits of an overlay. A lookup reads the whole overlay, and each host keeps it in memory.
const (
	MaxOverlayEntries = 256
	MaxOverlayPath    = 512      // bytes of a path
	MaxOverlayBytes   = 64 << 10 // bytes of all paths and values
)

// ValidateOverlay refuses an overlay that could not be served as it stands.
//
// An overlay lies over the table at every version. A path with a value is a leaf that hides whatever
// the table has there or below; the directories above it come into being. A nil value removes what
// the table has there and below, but not what the overlay itself puts below. A path below a leaf of
// the table makes a directory of that leaf.
func ValidateOverlay(overlay map[string]*string) error {
	if len(overlay) > MaxOverlayEntries {
		return refuse(openimds.TooMany, "the overlay has %d paths, at most %d are allowed", len(overlay), MaxOverlayEntries)
	}
	for _, path := range slices.Sorted(maps.Keys(overlay)) {
		if err := validateOverlayPath(path); err != nil {
			return err
		}
		if overlay[path] == nil {
			continue
		}
		for i := range len(path) {
			if path[i] == '/' && overlay[path[:i]] != nil {
				return refuse(openimds.Conflicting, "overlay path %q lies below %q, which has a value: a path is a value or a directory, not both", path, path[:i])
			}
		}
	}
	if size := OverlaySize(overlay); size > MaxOverlayBytes {
		return refuse(openimds.TooLarge, "the overlay has %d bytes of paths and values, at most %d are allowed", size, MaxOverlayBytes)
	}
	return nil
}

// OverlaySize is how many bytes the paths and values of an overlay have together.
func OverlaySize(overlay map[string]*string) int {
	size := 0
	for path, value := range overlay {
		if size += len(path); value != nil {
			size += len(*value)
		}
	}
	return size
}

func validateOverlayPath(path string) error {
	switch {
	case path == "":
		return refuse(openimds.Malformed, `an overlay path is empty; write it like "meta-data/ami-id"`)
	case len(path) > MaxOverlayPath:
		return refuse(openimds.TooLarge, "overlay path %.40q… has %d bytes, at most %d are allowed", path, len(path), MaxOverlayPath)
	case path[0] == '/':
		return refuse(openimds.Malformed, `overlay path %q begins with a slash; write it below the version, like "meta-data/ami-id"`, path)
	case !utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl):
		return refuse(openimds.Malformed, "overlay path %q has control characters or is not UTF-8", path)
	case within(path, "api"):
		return refuse(openimds.Reserved, "overlay path %q would hide the token endpoint", path)
	case !isPath(path):
		return refuse(openimds.Malformed, `overlay path %q has a segment that is empty, "." or ".."`, path)
	}
	return nil
}

// Below is a path below the version, of one as a guest may ask for it: with a version in front, and slashes around it.
func Below(path string) string {
	path = strings.Trim(path, "/")
	if version, below, deeper := strings.Cut(path, "/"); deeper && slices.Contains(versions, version) {
		return below
	}
	return path
}

// ValueAbove is the value of the table that a path lies below; false: there is none.
func ValueAbove(path string) (above string, ok bool) {
	n := tree
	for i := range len(path) + 1 {
		if i < len(path) && path[i] != '/' {
			continue
		}
		if n.row != nil {
			return above, true
		}
		name := strings.TrimPrefix(path[len(above):i], "/")
		if n.each != nil {
			n = n.each
		} else if n = n.index[name]; n == nil {
			return "", false
		}
		above = path[:i]
	}
	return "", false
}

func refuse(code openimds.Code, format string, args ...any) error {
	return openimds.Errorf(openimds.InvalidInput, code, format, args...)
}

// isPath says whether every segment of path can be asked for.
func isPath(path string) bool {
	for name := range strings.SplitSeq(path, "/") {
		if !isSegment(name) {
			return false
		}
	}
	return true
}

// layer is the part of an overlay that lies at and below one place; its paths are relative to it.
// The nil layer is empty and costs nothing.
type layer []patch

type patch struct {
	path  string  // "": the place itself
	value *string // nil: removed
}

// overlayAlong returns the part of overlay that matters to path: what lies above, at and below it.
// A path that no request can name is passed over: an unchecked record must not garble a listing.
func overlayAlong(overlay map[string]*string, path string) layer {
	var l layer
	for p, value := range overlay {
		if (path == "" || within(p, path) || within(path, p)) && isPath(p) {
			l = append(l, patch{p, value})
		}
	}
	return l
}

// here returns what the overlay says of the place itself.
func (l layer) here() (value *string, ok bool) {
	for _, p := range l {
		if p.path == "" {
			return p.value, true
		}
	}
	return nil, false
}

// adds says whether the overlay has a value below the place.
func (l layer) adds() bool {
	for _, p := range l {
		if p.path != "" && p.value != nil {
			return true
		}
	}
	return false
}

// below returns the layer one step down.
func (l layer) below(name string) layer {
	var sub layer
	for _, p := range l {
		if within(p.path, name) {
			sub = append(sub, patch{strings.TrimPrefix(p.path[len(name):], "/"), p.value})
		}
	}
	return sub
}

// names returns the names right below the place that lead to the overlay's values.
func (l layer) names() []string {
	var names []string
	for _, p := range l {
		if p.path != "" && p.value != nil {
			name, _, _ := strings.Cut(p.path, "/")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// without returns names less name.
func without(names []string, name string) []string {
	if i := slices.Index(names, name); i >= 0 {
		return slices.Delete(names, i, i+1)
	}
	return names
}
