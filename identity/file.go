package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/openimds/openimds/safefile"
)

// Keys are the keys of an installation: for each form those of the past, the present and the future,
// in the order in which they were made.
type Keys struct {
	forms [3][]Key
}

// Signing is the key that signs at that time: the latest one whose certificate holds by then. A key
// whose certificate begins in the future waits for its time, so that verifiers can be given the
// certificate before they need it.
func (k *Keys) Signing(form Form, now time.Time) (Key, bool) {
	all := k.forms[form]
	for i := len(all) - 1; i >= 0; i-- {
		if c := all[i].Certificate; !now.Before(c.NotBefore) && now.Before(c.NotAfter) {
			return all[i], true
		}
	}
	return Key{}, false
}

// All returns the keys of a form, the oldest first.
func (k *Keys) All(form Form) []Key { return k.forms[form] }

// NewKeys makes a key for each form that signs from then on, for an installation that keeps no files.
func NewKeys(from time.Time) (*Keys, error) {
	keys := new(Keys)
	for _, form := range Forms() {
		key, err := NewKey(form, from)
		if err != nil {
			return nil, fmt.Errorf("cannot make a key: %w", err)
		}
		keys.forms[form] = []Key{key}
	}
	return keys, nil
}

// maxSize of a file of keys in bytes; hundreds of keys fit.
const maxSize = 1 << 20

func path(dir string, form Form) string { return filepath.Join(dir, form.String()+".pem") }

// Ensure loads the keys in dir and makes those of forms that have none yet.
func Ensure(dir string, now time.Time) (*Keys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory of the identity keys: %w", err)
	}
	if err := safefile.PlainDirectory(dir); err != nil {
		return nil, fmt.Errorf("the directory of the identity keys: %w", err)
	}
	for _, form := range Forms() {
		if _, err := os.Lstat(path(dir, form)); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if _, err := Rotate(dir, form, now); err != nil {
			return nil, err
		}
	}
	return Load(dir)
}

// Load reads the keys in dir; each form must have one.
func Load(dir string) (*Keys, error) {
	keys := new(Keys)
	for _, form := range Forms() {
		text, _, err := safefile.ReadPrivate(path(dir, form), maxSize)
		if err != nil {
			return nil, fmt.Errorf("cannot read the identity keys: %w", err)
		}
		if keys.forms[form], err = ParseKeys(form, text); err != nil {
			return nil, fmt.Errorf("identity keys %s: %w", path(dir, form), err)
		}
	}
	return keys, nil
}

// Rotate makes a new key for a form that signs from then on. Earlier keys stay: their certificates
// verify what they signed.
func Rotate(dir string, form Form, from time.Time) (Key, error) {
	key, err := NewKey(form, from)
	if err != nil {
		return Key{}, fmt.Errorf("cannot make a key: %w", err)
	}
	return key, add(dir, form, key)
}

// Import adds the keys in a PEM text (a private key and its certificate behind it) to a form.
func Import(dir string, form Form, text []byte) ([]Key, error) {
	keys, err := ParseKeys(form, text)
	if err != nil {
		return nil, err
	}
	return keys, add(dir, form, keys...)
}

// add writes the keys of a form anew with further ones behind them; a reader sees all or none of it.
func add(dir string, form Form, keys ...Key) error {
	text, _, err := safefile.ReadPrivate(path(dir, form), maxSize)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot read the identity keys: %w", err)
	}
	for _, key := range keys {
		encoded, err := key.encode()
		if err != nil {
			return err
		}
		text = append(text, encoded...)
	}
	if _, err := ParseKeys(form, text); err != nil {
		return fmt.Errorf("identity keys %s: %w", path(dir, form), err)
	}
	if err := safefile.Write(path(dir, form), text, 0o600); err != nil {
		return fmt.Errorf("cannot write the identity keys: %w", err)
	}
	return nil
}
