package imdstest_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/openimds/openimds/imdstest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ imdstest.TB = testing.TB(nil)

// recorder is a test that fails for show: it keeps what Fatalf says.
type recorder struct {
	failure  string
	parallel bool
	example  bool // there is no test to end
	cleanups []func()
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	if r.example {
		panic(r.failure)
	}
	runtime.Goexit()
}

func (r *recorder) Setenv(name, value string) {
	if r.parallel {
		panic("testing: test using t.Setenv, t.Chdir, or cryptotest.SetGlobalRandom can not use t.Parallel")
	}
	was, there := os.LookupEnv(name)
	if err := os.Setenv(name, value); err != nil {
		panic(err)
	}
	r.Cleanup(func() {
		if there {
			_ = os.Setenv(name, was)
		} else {
			_ = os.Unsetenv(name)
		}
	})
}

// end does what the end of a test does.
func (r *recorder) end() {
	for len(r.cleanups) > 0 {
		last := len(r.cleanups) - 1
		f := r.cleanups[last]
		r.cleanups = r.cleanups[:last]
		f()
	}
}

// failure runs a test that is to fail, and returns what it says.
func failure(r *recorder, test func(imdstest.TB)) string {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer r.end()
		test(r)
	}()
	<-ended
	return r.failure
}

// get asks without a session token.
func get(t testing.TB, srv *imdstest.Server, path string) (int, string) {
	t.Helper()
	resp, err := http.Get(srv.URL + "/latest/" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// expect asks for paths and compares; a value that begins with a status in brackets is that status.
func expect(t testing.TB, srv *imdstest.Server, want map[string]string) {
	t.Helper()
	for path, value := range want {
		status, got := get(t, srv, path)
		if status != http.StatusOK {
			got = fmt.Sprint("[", status, "]")
		}
		if got != value {
			t.Errorf("%s is %q, not %q", path, got, value)
		}
	}
}

// oneLine complains of a message that is not one line of this package's.
func oneLine(t *testing.T, what, message, part string) {
	t.Helper()
	if !strings.HasPrefix(message, "imdstest") || strings.Contains(message, "\n") || !strings.Contains(message, part) {
		t.Errorf("%s: %q is not one line with %q", what, message, part)
	}
}
