//go:build !darwin && !freebsd && !linux && !netbsd && !openbsd

package safefile

import "os"

// Lock makes the file; this system does not tell who has it.
func Lock(path string) (unlock func(), err error) {
	f, err := Open(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}
