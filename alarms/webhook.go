package alarms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/openimds/openimds"
)

// Notice is what a webhook is sent as JSON when an alarm's state has changed.
type Notice struct {
	Alarm      string              `json:"alarm"`
	ARN        string              `json:"arn"`
	Instance   string              `json:"instance"`
	Metric     string              `json:"metric"`
	Comparison openimds.Comparison `json:"comparison"`
	Threshold  float64             `json:"threshold"`
	// Periods of five minutes that were looked at, and Datapoints how many must breach.
	Periods    int                 `json:"periods"`
	Datapoints int                 `json:"datapoints"`
	State      openimds.AlarmState `json:"state"`
	Before     openimds.AlarmState `json:"before"`
	ChangedAt  time.Time           `json:"changedAt"`
}

const (
	postTimeout = 5 * time.Second
	postTries   = 4
	firstPause  = time.Second // between two tries; doubled each time
	// maxWaiting is how many notices wait while the webhook does not answer.
	maxWaiting = 1000
)

// webhook posts notices one after the other, in the order of the changes.
type webhook struct {
	url     string
	client  *http.Client
	log     *slog.Logger
	waiting chan queued
	pause   time.Duration
	once    *once // nil: nobody else tells
}

// queued is a notice, with the revision of the alarm's record that told of it.
type queued struct {
	Notice
	revision int64
}

func newWebhook(target string, log *slog.Logger) (*webhook, error) {
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("the webhook of the alarms is not an http or https URL") // which may hold a secret
	}
	return &webhook{
		url: target,
		// What a redirect points at was not chosen by the operator.
		client: &http.Client{
			Timeout:       postTimeout,
			Transport:     http.DefaultTransport.(*http.Transport).Clone(),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		log:     log,
		waiting: make(chan queued, maxWaiting),
		pause:   firstPause,
	}, nil
}

// post has a notice posted. It does not wait for it.
func (w *webhook) post(n queued) {
	select {
	case w.waiting <- n:
	default:
		w.log.Error("an alarm's change is not told: too many wait for the webhook", "alarm", n.Alarm, "state", n.State)
	}
}

// run posts until the context ends.
func (w *webhook) run(ctx context.Context) {
	defer w.client.CloseIdleConnections()
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-w.waiting:
			tell := func() bool {
				w.deliver(ctx, n.Notice)
				return ctx.Err() == nil
			}
			if w.once != nil {
				w.once.do(ctx, n, tell)
			} else {
				tell()
			}
		}
	}
}

func (w *webhook) deliver(ctx context.Context, n Notice) {
	body, err := json.Marshal(n)
	if err != nil {
		w.log.Error("an alarm's change cannot be told", "alarm", n.Alarm, "error", err)
		return
	}
	pause := w.pause
	for try := 1; ; try++ {
		again, err := w.send(ctx, body)
		if err == nil || ctx.Err() != nil {
			return
		}
		if !again || try == postTries {
			w.log.Error("an alarm's change was not told: the webhook failed", "alarm", n.Alarm, "state", n.State, "tries", try, "error", err)
			return
		}
		wait(ctx, pause)
		pause *= 2
	}
}

// send posts once, and tells whether a failure may pass.
func (w *webhook) send(ctx context.Context, body []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return false, errors.New("its URL cannot be used")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "openimds")
	resp, err := w.client.Do(req)
	if err != nil {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err // without the URL
		}
		return true, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	switch status := resp.StatusCode; {
	case status >= 200 && status < 300:
		return false, nil
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return true, fmt.Errorf("it answered %d", status)
	default:
		return false, fmt.Errorf("it answered %d", status)
	}
}
