package backup_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/backup"
)

// text is a file's content.
type text string

func (t text) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, string(t))
	return int64(n), err
}

func written(t *testing.T, failed error, files ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := backup.NewWriter(&out, time.Unix(1e9, 0))
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		if err := w.Add(name, int64(len(content)), text(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(failed); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func read(archive []byte) (files []string, err error) {
	err = backup.Read(bytes.NewReader(archive), func(name string, content io.Reader) error {
		if name == "unread" {
			files = append(files, name)
			return nil
		}
		all, err := io.ReadAll(content)
		files = append(files, name+"="+string(all))
		return err
	})
	return files, err
}

func TestReadWhatWasWritten(t *testing.T) {
	long := "b/c=" + strings.Repeat("long ", 1000)
	files, err := read(written(t, nil, "a=one", long, "empty=", "unread=x"))
	if err != nil || strings.Join(files, "|") != strings.Join([]string{"a=one", long, "empty=", "unread"}, "|") {
		t.Errorf("%q, %v", files, err)
	}
}

// TestEachByteCounts changes or cuts off an archive at every byte: it is read as it was written, or refused.
func TestEachByteCounts(t *testing.T) {
	whole := written(t, nil, "openimds.db="+strings.Repeat("x", 700), "credentials=secret")
	last := bytes.LastIndex(whole, []byte("credentials\n")) + len("credentials") // of the sums, behind which is only padding
	refused := 0
	for at := range whole {
		if _, err := read(whole[:at]); err == nil && at < last {
			t.Fatalf("cut off at %d of %d, it was read", at, len(whole))
		}
		bad := bytes.Clone(whole)
		bad[at] ^= 0x41
		files, err := read(bad)
		if err != nil {
			refused++
		} else if len(files) != 2 || !strings.HasSuffix(files[0], "x") || files[1] != "credentials=secret" || strings.Count(files[0], "x") != 700 {
			t.Fatalf("changed at %d, it was read as %q", at, files)
		}
	}
	if refused < 700 {
		t.Errorf("%d changes were found", refused)
	}
}

func TestRefusals(t *testing.T) {
	two := append(written(t, nil, "a=one"), written(t, nil, "b=two")...)
	for name, tt := range map[string]struct {
		archive []byte
		want    string
	}{
		"empty":        {nil, "ends in the middle"},
		"no archive":   {bytes.Repeat([]byte("no"), 600), "not a backup"},
		"failed":       {written(t, errors.New("the store is damaged"), "a=one"), "the store is damaged"},
		"a name twice": {written(t, nil, "a=one", "a=one"), "a twice"},
		"two in one":   {two, ""},
	} {
		_, err := read(tt.archive)
		if tt.want == "" {
			if err != nil { // what is behind the end of an archive is none of it
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	w := backup.NewWriter(io.Discard, time.Now())
	if err := w.Add("a", 2, text("one")); err == nil {
		t.Error("a file with more bytes than it should have was written")
	}
	if err := backup.NewWriter(io.Discard, time.Now()).Add("a", 4, text("one")); err == nil {
		t.Error("a file with less bytes than it should have was written")
	}
}

// block is the head of an entry of an archive, as no writer of this program makes it.
func block(kind byte, name string, size int) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000600\x000000000\x000000000\x00")
	copy(b[124:], fmt.Sprintf("%011o\x00%011o\x00        %c", size, 0, kind))
	copy(b[257:], "ustar\x0000")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

func padded(text string) []byte {
	return append([]byte(text), make([]byte, (512-len(text)%512)%512)...)
}

// TestHoles: an archive of two kilobytes that says of a file that it has a terabyte, most of it holes, is none.
func TestHoles(t *testing.T) {
	const whole = "1099511627776"
	extended := ""
	for _, record := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=openimds.db", "GNU.sparse.realsize=" + whole} {
		extended += fmt.Sprintf("%d %s\n", len(record)+4, record)
	}
	regions := padded("1\n0\n0\n")
	archive := slices.Concat(block('x', "x", len(extended)), padded(extended), block('0', "openimds.db", len(regions)), regions, make([]byte, 1024))
	standard := tar.NewReader(bytes.NewReader(archive))
	if head, err := standard.Next(); err != nil || fmt.Sprint(head.Size) != whole {
		t.Fatalf("the archive is not what it is meant to be: %+v, %v", head, err)
	}
	err := backup.Read(bytes.NewReader(archive), func(name string, _ io.Reader) error {
		t.Errorf("%s is unpacked", name)
		return errors.New("stop")
	})
	if err == nil || err.Error() != "it is not a backup that openimds made" {
		t.Error(err)
	}
}

// TestManyFiles: what an archive says of itself is bounded: how many files there are, and why it ends.
func TestManyFiles(t *testing.T) {
	files := make([]string, 10_001)
	for i := range files {
		files[i] = fmt.Sprint(i, "=")
	}
	if _, err := read(written(t, nil, files...)); err == nil || err.Error() != "it has more than 10000 files" {
		t.Error(err)
	}
	if files, err := read(written(t, nil, files[1:]...)); err != nil || len(files) != 10_000 {
		t.Errorf("%d files, %v", len(files), err)
	}
	if _, err := read(written(t, errors.New(strings.Repeat("é", 1000)))); err == nil || len(err.Error()) != 500 {
		t.Errorf("a long reason: %v", err)
	}
	long := strings.Repeat("long/", 60) + "name"
	if files, err := read(written(t, nil, long+"=x")); err != nil || len(files) != 1 || files[0] != long+"=x" {
		t.Errorf("a long name: %q, %v", files, err)
	}
}
