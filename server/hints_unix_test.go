//go:build unix

package server

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestHintsOfOthers: where a server is, and what its region is, is read of nothing that others could have written, and
// waited for at no pipe.
func TestHintsOfOthers(t *testing.T) {
	const at = `{"imds":"http://192.0.2.1/","api":"http://192.0.2.1"}`
	for name, tt := range map[string]struct {
		put   func(path, text string) error
		taken bool
	}{
		"its own": {func(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }, true},
		"for all to write": {func(path, text string) error {
			return errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, 0o666))
		}, false},
		"a pipe": {func(path, _ string) error { return syscall.Mkfifo(path, 0o600) }, false},
		"a link": {func(path, _ string) error { return os.Symlink("/dev/zero", path) }, false},
		"longer than it is": {func(path, text string) error {
			return os.WriteFile(path, append([]byte(text), make([]byte, 1<<20)...), 0o600)
		}, false},
	} {
		dir := t.TempDir()
		must(t, tt.put(filepath.Join(dir, EndpointsFile), at))
		must(t, tt.put(filepath.Join(dir, regionFile), "eu-north-1\n"))
		if found, ok := LastAccess(dir); ok != tt.taken {
			t.Errorf("%s: the server is at %+v, %v", name, found, ok)
		}
		if region := RegionBeside(filepath.Join(dir, CredentialsFile)); (region == "eu-north-1") != tt.taken || !tt.taken && region != "" {
			t.Errorf("%s: the region is %.40q", name, region)
		}
	}
}
