package accesskeys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/openimds/openimds/safefile"
	"github.com/rogpeppe/go-internal/lockedfile"
)

// The settings of a profile that make a key.
const (
	settingID       = "aws_access_key_id"
	settingSecret   = "aws_secret_access_key"
	settingReadOnly = "openimds_read_only"
)

// Forms that survive the way through a Credential scope and through every client's INI reader.
var (
	idForm     = regexp.MustCompile(`^\w{3,128}$`)
	secretForm = regexp.MustCompile(`^[!-~]+$`)
)

// maxSize of a credentials file in bytes; thousands of keys fit.
const maxSize = 1 << 20

// section is one profile of the file, with or without a key.
type section struct {
	Key
	first, last int // its first line and the last of its settings, counted from 0
	settings    map[string]string
}

// lines writes the key as a profile. The restriction comes first: a reader that meets the file half
// written by an editor then misses the secret before it misses the restriction.
func (k Key) lines() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[%s]\n", k.Profile)
	if k.ReadOnly {
		fmt.Fprintf(&b, "%s = true\n", settingReadOnly)
	}
	fmt.Fprintf(&b, "%s = %s\n%s = %s\n", settingID, k.ID, settingSecret, k.Secret)
	return b.String()
}

// parse reads the profiles. It refuses whatever AWS's clients might read in another way; its errors
// show no value, because any of them might be a secret.
func (f *File) parse(text string) ([]section, error) {
	var sections []section
	names, ids := map[string]bool{}, map[string]bool{}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		refuse := func(why string) ([]section, error) {
			return nil, fmt.Errorf("%s line %d: %s: correct the line", f.path, i+1, why)
		}
		if line[0] == '[' {
			name, closed := strings.CutSuffix(line[1:], "]")
			if !closed || !profileForm.MatchString(name) {
				return refuse("not a profile's name of letters, digits and _.@+- in brackets")
			}
			if names[name] {
				return refuse("the profile occurs twice")
			}
			names[name] = true
			sections = append(sections, section{Key: Key{Profile: name}, first: i, last: i, settings: map[string]string{}})
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok || len(sections) == 0 {
			return refuse("not a [profile], nor a setting of one, nor a comment")
		}
		s := &sections[len(sections)-1]
		name = strings.ToLower(strings.TrimSpace(name))
		if _, twice := s.settings[name]; twice {
			return refuse("the profile has the setting twice")
		}
		s.settings[name] = strings.TrimSpace(value)
		s.last = i
	}
	for i := range sections {
		s := &sections[i]
		if err := s.readKey(); err != nil {
			return nil, fmt.Errorf("%s, profile %s: %w", f.path, s.Profile, err)
		}
		if s.ID != "" && ids[s.ID] {
			return nil, fmt.Errorf("%s, profile %s: its %s stands in another profile too: remove one of them", f.path, s.Profile, settingID)
		}
		ids[s.ID] = true
	}
	return sections, nil
}

// readKey makes the settings a key. A profile with neither id nor secret has none.
func (s *section) readKey() error {
	id, hasID := s.settings[settingID]
	secret, hasSecret := s.settings[settingSecret]
	if !hasID && !hasSecret {
		return nil
	}
	if !idForm.MatchString(id) {
		return fmt.Errorf("%s must be 3 to 128 letters and digits", settingID)
	}
	if !secretForm.MatchString(secret) {
		return fmt.Errorf("%s must be printable characters without blanks", settingSecret)
	}
	s.ID, s.Secret = id, secret
	switch value, has := s.settings[settingReadOnly]; {
	case value == "true":
		s.ReadOnly = true
	case has && value != "false": // a misspelt restriction must not decay to full access
		return fmt.Errorf("%s must be true or false", settingReadOnly)
	}
	return nil
}

// cut removes the section from text, with the blank line that Create put before it.
func (s *section) cut(text string) string {
	lines := strings.SplitAfter(text, "\n")
	first := s.first
	if first > 0 && strings.TrimSpace(lines[first-1]) == "" {
		first--
	}
	return strings.Join(lines[:first], "") + strings.Join(lines[s.last+1:], "")
}

// read returns the text of a credentials file and what the file system said of it.
func read(path string) (string, fs.FileInfo, error) {
	text, info, err := safefile.ReadPrivate(path, maxSize)
	if _, system := errors.AsType[*fs.PathError](err); system {
		return "", nil, fmt.Errorf("credentials file: %w", err)
	}
	if err != nil {
		return "", nil, fmt.Errorf("credentials file %w", err)
	}
	return string(text), info, nil
}

// lock keeps other processes, and other Files of this one, from changing the file. The lock dies
// with its holder.
func (f *File) lock() (unlock func(), err error) {
	path := f.path + ".lock"
	file, err := safefile.Open(path, os.O_RDWR|os.O_CREATE, 0o600) // who can open it can hold it
	if err == nil {
		_ = file.Close()
		unlock, err = lockedfile.MutexAt(path).Lock()
	}
	if err != nil {
		return nil, fmt.Errorf("lock the credentials file: %w", err)
	}
	return unlock, nil
}

// edit replaces the file by what change makes of it.
func (f *File) edit(change func(text string, profiles []section) (string, error)) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	text, info, err := read(f.path)
	if err != nil {
		return err
	}
	profiles, err := f.parse(text)
	if err != nil {
		return err
	}
	text, err = change(text, profiles)
	if err != nil {
		return err
	}
	return f.replace(text, info)
}

// replace puts text in the file's place: a reader, and a crash, meets the old file or the new one.
// The caller holds the lock. old is the present file, nil if there is none.
func (f *File) replace(text string, old fs.FileInfo) error {
	safefile.Sweep(f.path)
	next, err := safefile.Create(f.path, 0o600)
	if err == nil {
		defer next.Discard()
		_, err = next.WriteString(text)
	}
	if err == nil && old != nil {
		err = keepOwner(next.File, old)
	}
	if err == nil {
		err = next.Place()
	}
	if err != nil {
		return fmt.Errorf("write the credentials file: %w", err)
	}
	return nil
}
