// Package backup is the form of a backup: the files of a data directory in one archive, which is whole or refused.
//
// It is a tar archive. Its last entry names the SHA-256 of each other one, as sha256sum reads it: an archive that
// broke off has none, and one that was changed another.
package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Names of entries that are no files of the data directory.
const (
	sums   = "SHA256SUMS"
	failed = "FAILED" // has the reason why the archive ends
)

const (
	// maxText bounds what is read of those, in bytes, and maxReason what is shown of a reason.
	maxText   = 1 << 20
	maxReason = 500
	// maxFiles is how many files an archive may have. A data directory has a few dozen.
	maxFiles = 10_000
)

// Writer makes an archive.
type Writer struct {
	tar  *tar.Writer
	sums bytes.Buffer
	now  time.Time
}

// NewWriter makes one whose entries are of that time.
func NewWriter(w io.Writer, now time.Time) *Writer { return &Writer{tar: tar.NewWriter(w), now: now} }

// Add writes a file of so many bytes. It fails if the content has more or less.
func (w *Writer) Add(name string, size int64, content io.WriterTo) error {
	if err := w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: w.now}); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := content.WriteTo(io.MultiWriter(w.tar, sum))
	if err == nil && n != size {
		err = fmt.Errorf("%s has %d bytes, not %d", name, n, size)
	}
	fmt.Fprintf(&w.sums, "%x  %s\n", sum.Sum(nil), name)
	return err
}

// Close ends the archive: as a whole one, or where it has failed with the reason.
func (w *Writer) Close(why error) error {
	name, text := sums, w.sums.Bytes()
	if why != nil {
		name, text = failed, []byte(why.Error())
	}
	err := w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(text)), Mode: 0o600, ModTime: w.now})
	if err == nil {
		_, err = w.tar.Write(text)
	}
	if err == nil {
		err = w.tar.Close()
	}
	return err
}

// Read reads an archive to the end of r, and gives each file to take, which need not read it. It fails at the first
// thing that is not as it was written; what take was given before may be wrong then, too.
func Read(r io.Reader, take func(name string, content io.Reader) error) error {
	archive, found := tar.NewReader(r), map[string]string{}
	for {
		entry, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return errors.New("it ends in the middle")
		case err != nil || !plain(entry):
			return errors.New("it is not a backup that openimds made")
		case entry.Name == failed:
			text, _ := io.ReadAll(io.LimitReader(archive, maxReason))
			return errors.New(strings.ToValidUTF8(string(text), ""))
		case entry.Name == sums:
			if err := check(archive, found); err != nil {
				return err
			}
			if _, err := archive.Next(); !errors.Is(err, io.EOF) {
				return errors.New("it goes on behind its end")
			}
			_, err := io.Copy(io.Discard, r)
			return err
		case len(found) == maxFiles:
			return fmt.Errorf("it has more than %d files", maxFiles)
		case found[entry.Name] != "":
			return fmt.Errorf("it has %s twice", entry.Name)
		}
		sum := sha256.New()
		content := io.TeeReader(archive, sum)
		if err := take(entry.Name, content); errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("it ends in the middle")
		} else if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return errors.New("it ends in the middle")
		}
		found[entry.Name] = hex.EncodeToString(sum.Sum(nil))
	}
}

// plain says whether an entry is of the kind that is written: a file, all of which is in the archive. Of one with holes a
// few bytes would fill a disk.
func plain(entry *tar.Header) bool {
	for record := range entry.PAXRecords {
		if record != "path" && record != "size" && record != "mtime" {
			return false
		}
	}
	return entry.Typeflag == tar.TypeReg
}

// check holds the sums against the files that were found.
func check(r io.Reader, found map[string]string) error {
	text, err := io.ReadAll(io.LimitReader(r, maxText))
	if err != nil {
		return errors.New("it ends in the middle")
	}
	named := 0
	for line := range bytes.Lines(text) {
		sum, name, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte("  "))
		if found[string(name)] != string(sum) || len(sum) == 0 {
			return fmt.Errorf("%s is not as it was written", name)
		}
		named++
	}
	if named != len(found) {
		return fmt.Errorf("it has %d files and the sums of %d", len(found), named)
	}
	return nil
}
