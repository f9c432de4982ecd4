package bolt

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openimds/openimds/store"
)

// FuzzStoreFile changes a store's file at will, as a damaged disk or a careless hand may: it opens with
// true records or is refused in one line that names it, and it never ends the program.
func FuzzStoreFile(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, "whole")
	s, err := Open(path)
	if err != nil {
		f.Fatal(err)
	}
	for i := range 20 {
		if _, err := s.Commit(f.Context(), store.Change{Key: fmt.Sprintf("k/%03d", i), Value: fmt.Append(nil, strings.Repeat("v", 200), i), If: store.IfAbsent}); err != nil {
			f.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	edit := func(at uint16, what ...byte) []byte { return append(binary.BigEndian.AppendUint16(nil, at), what...) }
	f.Add(uint32(0), []byte{})
	f.Add(uint32(1), edit(16, 0xff))
	f.Add(uint32(8192), edit(4096, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
	f.Add(uint32(0), append(edit(8200, 0xff), edit(12300, 0x01)...))
	opened := 0
	f.Fuzz(func(t *testing.T, cut uint32, edits []byte) {
		content := append([]byte{}, whole...)
		// Each edit is a place, in units of four bytes, and a byte for it; with the checksums of the meta
		// pages as they are, most of the rest can be reached.
		for ; len(edits) >= 3; edits = edits[3:] {
			at := int(binary.BigEndian.Uint16(edits)) * 4 % len(content)
			content[at] = edits[2]
		}
		if cut > 0 {
			content = content[:int(cut)%(len(content)+1)]
		}
		opened++ // in a file of its own: when bbolt panics while it opens, it keeps its lock
		file := filepath.Join(dir, fmt.Sprint("damaged-", os.Getpid(), "-", opened))
		readDamaged(t, file, content)
		_, _ = os.Remove(file), os.Remove(reservePath(file))
	})
}
