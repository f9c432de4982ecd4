package hostdoor

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/openimds/openimds/hostlink"
)

// writer writes messages, each on a line of its own, and waits for none that nobody takes.
type writer struct {
	to      http.ResponseWriter
	control *http.ResponseController
	// over says why nothing more is to be sent. It is asked last before each message is: what was read of the store for it
	// may be of after the host was evicted.
	over func() error

	mu      sync.Mutex
	writing bool
}

func (w *writer) send(m hostlink.Message) error {
	var line bytes.Buffer
	plain := json.NewEncoder(&line)
	plain.SetEscapeHTML(false) // which would make much of user data six times as long
	if err := plain.Encode(m); err != nil {
		return err
	}
	if err := w.begin(); err != nil {
		return err
	}
	defer w.done()
	if _, err := w.to.Write(line.Bytes()); err != nil {
		return err
	}
	return w.control.Flush()
}

func (w *writer) begin() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.over(); err != nil {
		return err
	}
	if err := w.control.SetWriteDeadline(time.Now().Add(streamTime)); err != nil {
		return err
	}
	w.writing = true
	return nil
}

func (w *writer) done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = false
}

// cut ends a message that is being sent, after over has begun to say why. Between two a stream ends in order.
func (w *writer) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writing {
		_ = w.control.SetWriteDeadline(time.Unix(1, 0))
	}
}
