package board

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/lightsail"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/attest"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/store/mem"
)

// patience is how long a test waits, on a machine that is busy, for what needs milliseconds.
const patience = 3 * time.Minute

func until(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %v", patience)
		}
	}
}

// signing is a board over an installation that signs reports, and whose files are in a directory.
func signing(t *testing.T) (b *Board, dir string) {
	t.Helper()
	key, err := attest.New()
	if err != nil {
		t.Fatal(err)
	}
	s := control.New(mem.New(), control.Config{Region: "us-east-1", AccountID: "123456789012", Reports: key})
	if _, err := s.EnsureInstance(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	left, err := safefile.Create(filepath.Join(dir, "report"), 0o600) // by an earlier process
	if err != nil {
		t.Fatal(err)
	}
	_ = left.Close()
	b, err = New(Config{
		Protocol: lightsail.New(lightsail.Config{Service: s}), Region: "us-east-1", Account: "123456789012", Timeout: api.MaxTimeout,
		Log: slog.New(slog.DiscardHandler), Scratch: dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b, dir
}

func (b *Board) count() int {
	b.drafts.mu.Lock()
	defer b.drafts.mu.Unlock()
	return len(b.drafts.by)
}

func refusedAs(t *testing.T, err error, code openimds.Code) {
	t.Helper()
	if refused, ok := errors.AsType[*openimds.Error](err); !ok || refused.Code != code {
		t.Errorf("the error is %v, not %s", err, code)
	}
}

// A report is there for who asked for it alone, until nobody asks for it; then nothing is left of it.
func TestReportIsGivenUp(t *testing.T) {
	b, dir := signing(t)
	ann, bob := sigv4.Identity{KeyID: "AKIAANN"}, sigv4.Identity{KeyID: "AKIABOB"}
	id, err := b.MakeReport(t.Context(), ann, wire.ReportHTML)
	if err != nil {
		t.Fatal(err)
	}
	var told wire.GetMigrationReportResult
	until(t, func() bool {
		if told, err = b.Report(t.Context(), ann, id, 0); err != nil {
			t.Fatal(err)
		}
		return told.Size > 0
	})
	if stated, err := attest.Verify(told.Part, told.Key); err != nil || !strings.HasPrefix(stated.By, ann.KeyID) {
		t.Errorf("signed for %+v, %v", stated, err)
	}
	_, err = b.Report(t.Context(), bob, id, 0)
	refusedAs(t, err, openimds.Terminated)
	_, err = b.Report(t.Context(), ann, id, told.Size+1)
	refusedAs(t, err, openimds.OutOfRange)
	// Of each place on, whatever the body and the signature behind it have of it, it is the same.
	for _, from := range []int64{1, told.Size - 2000, told.Size - 1, told.Size} {
		if part, err := b.Report(t.Context(), ann, id, from); err != nil || string(part.Part) != string(told.Part[from:]) {
			t.Errorf("from %d on: %q, %v", from, part.Part, err)
		}
	}
	// From here on nobody is waited for.
	b.drafts.kept = time.Nanosecond
	if id, err = b.MakeReport(t.Context(), ann, wire.ReportJSON); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return b.count() == 0 })
	_, err = b.Report(t.Context(), ann, id, 0)
	refusedAs(t, err, openimds.Terminated)
	b.Close()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
	_, err = b.MakeReport(t.Context(), ann, wire.ReportJSON)
	refusedAs(t, err, openimds.Unready)
}

// The rights are those of the moment in which it is signed.
func TestReportIsSignedForWhoMay(t *testing.T) {
	b, _ := signing(t)
	ann := sigv4.Identity{KeyID: "AKIAANN"}
	id, err := b.MakeReport(t.Context(), ann, wire.ReportHTML)
	if err != nil {
		t.Fatal(err)
	}
	ann.ReadOnly = true // since
	until(t, func() bool {
		told, err := b.Report(t.Context(), ann, id, 0)
		if err == nil && told.Size > 0 {
			t.Fatal("signed for a key that may only look")
		}
		return err != nil
	})
}

// Many keys cannot have more made than there may be, and one of each.
func TestReportsAreFew(t *testing.T) {
	b, _ := signing(t)
	begin := func(key string) error {
		_, err := b.MakeReport(t.Context(), sigv4.Identity{KeyID: key}, wire.ReportHTML)
		return err
	}
	for n := range maxDrafts {
		for range 3 {
			if err := begin(fmt.Sprint("AKIA", n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	refusedAs(t, begin("AKIAONEMORE"), openimds.TooMany)
	if n := b.count(); n != maxDrafts {
		t.Errorf("%d reports are there", n)
	}
}

// What nobody would verify is not made.
func TestReportIsBounded(t *testing.T) {
	w := &bounded{w: new(strings.Builder), size: attest.MaxFile - 5000}
	if _, err := w.Write(make([]byte, 900)); err != nil {
		t.Error(err)
	}
	_, err := w.Write(make([]byte, 900))
	refusedAs(t, err, openimds.TooLarge)
}
