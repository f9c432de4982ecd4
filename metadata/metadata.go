// Package metadata is the table of categories: what a guest finds at each path, since which version,
// and when. Answers, listings, the list of versions and docs/CATEGORIES.md all come from the one
// table in rows*.go. The package knows no network, no store and no request.
package metadata

import (
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
)

// Content types of items. AWS serves JSON documents as plain text too, and names no charset.
const (
	textPlain   = "text/plain"
	octetStream = "application/octet-stream"
)

// View is all that a value may see. Instance must be set.
type View struct {
	Instance *openimds.Instance
	Now      time.Time
	// V2 says that the request carries a valid session token.
	V2 bool
	// Credentials gives the temporary credentials; nil: iam/ and identity-credentials/ do not exist.
	Credentials openimds.CredentialSource
	// Identity signs the identity document; nil: it stands there without signatures.
	Identity Signatures
	// Keys vouches for pushed SSH keys; nil: they stand there by themselves.
	Keys KeySigner
	// Recorded is the instance's recording, made ready; nil: the table answers.
	Recorded *Recorded
}

// Signatures signs identity documents. Each method returns the text that is served, or false when
// it cannot sign now. A listing asks as well, to show only what answers, so an implementation keeps
// what it has signed. It must be safe for use by many goroutines and must not keep document.
type Signatures interface {
	// Signature is the base64 of an RSA signature over the document.
	Signature(in *openimds.Instance, document []byte) ([]byte, bool)
	// PKCS7 is the base64 of a PKCS#7 message, signed with DSA, that contains the document.
	PKCS7(in *openimds.Instance, document []byte) ([]byte, bool)
	// RSA2048 is the base64 of a PKCS#7 message, signed with RSA, that contains the document.
	RSA2048(in *openimds.Instance, document []byte) ([]byte, bool)
}

// Item is what a path holds: a value, or the listing of a directory.
type Item struct {
	// Body belongs to the caller.
	Body        []byte
	ContentType string
	// Modified is when the item last changed, as far as known; never later than the view's Now.
	Modified time.Time
	// Listing says that it is the listing of a directory.
	Listing bool
}

// Category is one row of the table, for whoever shows or checks it.
type Category struct {
	// Path lies below the version. A segment in braces stands for names that the instance gives.
	Path string
	// Since is the version that introduced the category. AWS's documentation names some versions
	// that its service does not list; such a category is visible from the next listed one on.
	Since string
	// VisibleSince is the first of [Versions] that shows the category.
	VisibleSince string
	// Undated means that AWS names no version, and Since is this project's choice.
	Undated bool
	// When says when the category exists; empty: always.
	When string
	// Doc says what the value means.
	Doc string
}

// Versions returns what GET / lists: all versions, the oldest first, and "latest".
func Versions() []string { return append([]string(nil), versions...) }

// Categories returns the table in the order of paths.
func Categories() []Category {
	all := make([]Category, 0, len(table))
	for _, r := range table {
		all = append(all, Category{
			Path:         r.Path,
			Since:        r.Since,
			VisibleSince: versions[visibleSince(r.Since)],
			Undated:      r.Undated,
			When:         r.When,
			Doc:          r.Doc,
		})
	}
	return all
}

// Groups returns the parts of the table that are told apart where single categories would be too many, in the
// order of paths: the first name of each path, and its first two where more follow. The first alone stands for
// what is directly below it.
func Groups() []string {
	var groups []string
	for _, r := range table {
		first, rest, _ := strings.Cut(r.Path, "/")
		groups = append(groups, first)
		if second, _, more := strings.Cut(rest, "/"); more {
			groups = append(groups, first+"/"+second)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// Get returns the item at path, or false when nothing is there. The path begins with the version
// ("latest/meta-data/ami-id"); the empty path is the list of versions. It has been decoded and
// cleaned: no slash at either end, no segment that is empty, "." or "..".
//
// A directory that would list nothing does not exist. Get is safe for use by many goroutines.
func Get(v *View, path string) (Item, bool) {
	if v.Recorded != nil {
		return v.Recorded.get(v, path)
	}
	if path == "" {
		return v.finish(Item{Body: []byte(versionList), ContentType: textPlain, Modified: v.Instance.LaunchedAt, Listing: true}), true
	}
	version, rest, _ := strings.Cut(path, "/")
	at, ok := versionIndex[version]
	if !ok {
		return Item{}, false
	}
	r := request{view: v, version: at, finalLF: within(rest, "dynamic")}
	s := spot{node: tree, over: overlayAlong(v.Instance.Overlay, rest)}
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if s, ok = r.child(s, name); !ok {
			return Item{}, false
		}
	}
	it, ok := r.item(s)
	if !ok {
		return Item{}, false
	}
	return v.finish(it), true
}

// finish keeps Modified from lying in the future, which HTTP forbids (RFC 9110, section 8.8.2.1).
func (v *View) finish(it Item) Item {
	if it.Modified.IsZero() || it.Modified.After(v.Now) {
		it.Modified = v.Now
	}
	return it
}

// within says whether path is dir or lies below it.
func within(path, dir string) bool {
	return strings.HasPrefix(path, dir) && (len(path) == len(dir) || path[len(dir)] == '/')
}
