package front

import (
	"bytes"
	"errors"
	"io"
	"net/http/httptest"
	"testing"
)

func TestBodies(t *testing.T) {
	const most = 1 << 20
	b := NewBodies(most)
	read := func(from string, size int, proven bool) (func(), error) {
		r := httptest.NewRequest("POST", "/", bytes.NewReader(bytes.Repeat([]byte("x"), size)))
		r.RemoteAddr = from
		body, release, err := b.Read(r, proven)
		if err == nil && len(body) != size {
			t.Fatalf("%d bytes of %d", len(body), size)
		}
		return release, err
	}
	for _, size := range []int{0, 1, freeBody, freeBody + 1, 15_000, most} {
		release, err := read("192.0.2.1:1", size, false)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		release()
		release()
	}
	if _, err := read("192.0.2.1:1", most+1, true); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	r := httptest.NewRequest("POST", "/", io.NopCloser(bytes.NewReader(nil)))
	r.ContentLength = -1
	if _, _, err := b.Read(r, true); !errors.Is(err, ErrNoLength) {
		t.Error(err)
	}
	r = httptest.NewRequest("POST", "/", bytes.NewReader([]byte("short")))
	r.ContentLength = 100_000
	if _, _, err := b.Read(r, false); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if b.unproven.free != unprovenRoom || len(b.unproven.sources) != 0 {
		t.Errorf("%d bytes free of %d, %d sources", b.unproven.free, unprovenRoom, len(b.unproven.sources))
	}

	// One source fills its half; others, small bodies and those who hold a key are not touched.
	var releases []func()
	for {
		release, err := read("192.0.2.1:1", 300_000, false)
		if err != nil {
			if !errors.Is(err, ErrBusy) {
				t.Fatal(err)
			}
			break
		}
		releases = append(releases, release)
	}
	if n := len(releases); n < 2 || n*300_000 > unprovenRoom/2 {
		t.Errorf("one source has %d bodies of 300,000 bytes", n)
	}
	for name, c := range map[string]struct {
		from   string
		size   int
		proven bool
	}{
		"small": {"192.0.2.1:2", freeBody, false}, "proven": {"192.0.2.1:3", most, true}, "other": {"192.0.2.2:1", 300_000, false},
	} {
		release, err := read(c.from, c.size, c.proven)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		release()
	}
	for i := range 100 {
		release, err := read("198.51.100."+string(rune('0'+i%10))+":1", 300_000, false)
		if err == nil {
			releases = append(releases, release)
		}
	}
	if n := len(releases); n*300_000 > unprovenRoom {
		t.Errorf("all have %d bodies of 300,000 bytes", n)
	}
	for _, release := range releases {
		release()
	}
	if b.unproven.free != unprovenRoom || b.proven.free != provenRoom || len(b.unproven.sources) != 0 {
		t.Error("not all room was given back")
	}
}

// endless sends its first bytes and then no more; the test sees what was made for it.
type endless struct{ sent int }

func (e *endless) Read(p []byte) (int, error) {
	if e.sent > 100 {
		return 0, errors.New("the time is over")
	}
	e.sent++
	return copy(p[:1], "x"), nil
}

// TestAnnouncedIsNotTaken: what is announced takes no memory before it comes.
func TestAnnouncedIsNotTaken(t *testing.T) {
	b := NewBodies(1 << 20)
	allocated := testing.Benchmark(func(bench *testing.B) {
		bench.ReportAllocs()
		for bench.Loop() {
			r := httptest.NewRequest("POST", "/", nil)
			r.Body, r.ContentLength = io.NopCloser(new(endless)), 1<<20
			if _, _, err := b.Read(r, false); err == nil {
				bench.Fatal("a body that never came")
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 64<<10 {
		t.Errorf("a body of 100 bytes that was to be of 1 MiB took %d bytes", allocated)
	}
}
