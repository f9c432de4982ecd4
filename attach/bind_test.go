package attach

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostnet"
	"github.com/openimds/openimds/store/mem"
)

// awayBinder keeps nothing so many times.
type awayBinder struct{ left, asked int }

func (b *awayBinder) BindAttachments(context.Context, []openimds.Binding) error {
	b.asked++
	if b.left--; b.left >= 0 {
		return errors.New("away")
	}
	return nil
}

// TestFoundWhileAway: what the host learns while nobody can keep it is offered again until it is kept, and told to the
// log once, not once a second for as long as it takes.
func TestFoundWhileAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		binder := &awayBinder{left: 1000}
		a := New(Config{Store: mem.New(), Binder: binder, Log: slog.New(slog.NewTextHandler(&log, nil))})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { a.bind(ctx); close(ended) }()
		a.Learn(EndpointID(&openimds.Attachment{Instance: "web", CreatedAt: time.Now()}), []hostnet.GuestLink{})
		time.Sleep(time.Hour)
		synctest.Wait()
		cancel()
		<-ended
		if binder.asked <= 1000 {
			t.Errorf("it was offered %d times", binder.asked)
		}
		if lines := strings.Count(log.String(), "\n"); lines != 1 {
			t.Errorf("%d lines: %.400s", lines, log.String())
		}
	})
}
