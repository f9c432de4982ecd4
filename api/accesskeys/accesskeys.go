// Package accesskeys keeps the access keys of the control API in an AWS shared-credentials file, so
// that every AWS client can read its key where the server reads it.
//
// A profile of the file is a key. Its setting openimds_read_only, which AWS clients pass over, says
// that the key may only look. Several processes may change the file at once, and a person may edit
// it; a server that has it open obeys the change with the next lookup.
package accesskeys

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds/safefile"
)

// DefaultProfile is the profile that clients use unless told otherwise; [Ensure] makes it.
const DefaultProfile = "default"

// Key is one access key. Printing a Key does not show its secret.
type Key struct {
	ID      string
	Secret  string `json:"-"`
	Profile string
	// ReadOnly says that the key may only look, never change.
	ReadOnly bool
}

// String names the key by its id and profile.
func (k Key) String() string { return k.ID + " (" + k.Profile + ")" }

// Format is String whatever the verb: %d would print the secret past String and GoString.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// File is a credentials file. It is safe for use by many goroutines, and beside other processes.
type File struct {
	path string

	mu   sync.Mutex
	keys map[string]Key // by id; what the file held when it was seen
	seen fs.FileInfo    // nil: read the file again in any case
}

// Open names the credentials file at path, which need not exist yet.
func Open(path string) *File { return &File{path: path} }

// Ensure opens the credentials file at path. If there is none, it makes one with a key of full
// access in the profile default. A file that others may read, or that makes no sense, is an error.
func Ensure(path string) (*File, error) {
	f := Open(path)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := f.create(); err != nil {
			return nil, err
		}
	}
	if _, err := f.List(); err != nil {
		return nil, err
	}
	return f, nil
}

// create makes the file with its first key, unless somebody else was quicker.
func (f *File) create() error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Lstat(f.path); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return f.replace(newKey(DefaultProfile, false).lines(), nil)
}

// Lookup finds a key by its id; false means that there is no such key. It asks the file system each
// time whether the file has changed (about a microsecond), so a key that Revoke has taken away is
// dead for the next request. When the file cannot be read or makes no sense, nobody can tell which
// keys still hold, and Lookup returns the error for every id.
func (f *File) Lookup(id string) (Key, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refresh(); err != nil {
		return Key{}, false, err
	}
	key, ok := f.keys[id]
	return key, ok, nil
}

func (f *File) refresh() error {
	info, err := os.Lstat(f.path)
	if err == nil {
		err = safefile.Ours(f.path, info)
	}
	if err != nil {
		return fmt.Errorf("credentials file: %w", err)
	}
	if s := f.seen; s != nil && os.SameFile(s, info) && s.ModTime().Equal(info.ModTime()) &&
		s.Size() == info.Size() && s.Mode() == info.Mode() {
		return nil
	}
	f.seen = nil
	text, info, err := read(f.path)
	if err != nil {
		return err
	}
	profiles, err := f.parse(text)
	if err != nil {
		return err
	}
	f.keys = make(map[string]Key, len(profiles))
	for _, p := range profiles {
		if p.ID != "" {
			f.keys[p.ID] = p.Key
		}
	}
	// A file changed a moment ago may change again within one tick of its time stamp, unseen. No
	// file system counts in more than two seconds.
	if time.Since(info.ModTime()) > 2*time.Second {
		f.seen = info
	}
	return nil
}

// List returns the keys in the file's order, without their secrets.
func (f *File) List() ([]Key, error) {
	text, _, err := read(f.path)
	if err != nil {
		return nil, err
	}
	profiles, err := f.parse(text)
	if err != nil {
		return nil, err
	}
	var keys []Key
	for _, p := range profiles {
		if p.ID != "" {
			p.Secret = ""
			keys = append(keys, p.Key)
		}
	}
	return keys, nil
}

// profileForm is what AWS's clients and this package read alike; blanks and brackets they do not.
var profileForm = regexp.MustCompile(`^[\w.@+-]{1,64}$`)

// Create adds a new key under a profile that the file does not have yet, and returns it with its
// secret. The file has to exist.
func (f *File) Create(profile string, readOnly bool) (Key, error) {
	if !profileForm.MatchString(profile) {
		return Key{}, fmt.Errorf("%.80q cannot name a key: use 1 to 64 letters, digits and _.@+-", profile)
	}
	key := newKey(profile, readOnly)
	return key, f.edit(func(text string, profiles []section) (string, error) {
		if slices.ContainsFunc(profiles, func(p section) bool { return p.Profile == profile }) {
			return "", fmt.Errorf("%s has a profile %s already: revoke its key first, or choose another name", f.path, profile)
		}
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		if text != "" {
			text += "\n"
		}
		return text + key.lines(), nil
	})
}

// Revoke takes away the key of that profile or id, with all settings of its profile, and returns it without its
// secret. The last key with full access goes only by force: without it nobody could change anything any more.
func (f *File) Revoke(profileOrID string, force bool) (revoked Key, err error) {
	err = f.edit(func(text string, profiles []section) (string, error) {
		at, full := -1, 0
		for i, p := range profiles {
			if p.ID == "" {
				continue
			}
			if !p.ReadOnly {
				full++
			}
			if p.Profile != profileOrID && p.ID != profileOrID {
				continue
			}
			if at >= 0 {
				return "", fmt.Errorf("%s is both a profile and the id of another key: rename the profile in %s", profileOrID, f.path)
			}
			at = i
		}
		switch {
		case at < 0:
			return "", fmt.Errorf("%s has no key of the name or id %.80q", f.path, profileOrID)
		case full == 1 && !profiles[at].ReadOnly && !force:
			return "", fmt.Errorf("%s is the last key with full access: create another one first, or force it", profiles[at].Key)
		}
		revoked = profiles[at].Key
		revoked.Secret = ""
		return profiles[at].cut(text), nil
	})
	if err != nil {
		return Key{}, err
	}
	return revoked, nil
}

// newKey makes a key whose id names no account: a key of the control API belongs to an installation.
// AWS's ids are read as an account's when Q or a later character follows the prefix; before 2019 it was I.
func newKey(profile string, readOnly bool) Key {
	secret := make([]byte, 30) // 40 characters of base64, as AWS's
	rand.Read(secret)
	return Key{
		ID:       "AKIAI" + rand.Text()[:15],
		Secret:   base64.StdEncoding.EncodeToString(secret),
		Profile:  profile,
		ReadOnly: readOnly,
	}
}
