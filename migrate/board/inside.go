package board

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/control"
)

// inside carries requests to a handler of this process, whose answers are as those of a connection.
type inside struct {
	handler http.Handler
	// turns has room for those at once that nobody waits for, of all reports together: they shall not take the process from
	// guests and pages.
	turns chan struct{}
}

// RoundTrip implements [http.RoundTripper].
func (i inside) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Context().Value(unhurried{}) != nil {
		select {
		case i.turns <- struct{}{}:
			defer func() { <-i.turns }()
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	asked := r.Clone(r.Context())
	asked.RemoteAddr = control.RequestSource(r.Context()) // of who asked the server in the first place
	w := &answer{header: http.Header{}, status: http.StatusOK}
	i.handler.ServeHTTP(w, asked)
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: r.Proto, ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: r,
	}, nil
}

// answer is written by a handler.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header            { return a.header }
func (a *answer) Write(text []byte) (int, error) { return a.body.Write(text) }
func (a *answer) WriteHeader(status int)         { a.status = status }

// unhurried is in the context of requests that nobody waits for.
type unhurried struct{}

type askedBy struct{}

// withAsker returns a context whose requests come from whoever that is.
func withAsker(ctx context.Context, who sigv4.Identity) context.Context {
	return context.WithValue(ctx, askedBy{}, who)
}

// asker tells who asks by the context alone, which only this process makes: what is signed proves nothing here.
type asker struct{}

// CheckHead is of [github.com/openimds/openimds/api.Authenticator].
func (asker) CheckHead(r *http.Request, _ string) (proven bool, err error) {
	_, err = asker{}.Verify(r, "", nil)
	return err == nil, err
}

// Verify is of [github.com/openimds/openimds/api.Authenticator].
func (asker) Verify(r *http.Request, _ string, _ []byte) (sigv4.Identity, error) {
	who, known := r.Context().Value(askedBy{}).(sigv4.Identity)
	if !known || who.KeyID == "" {
		return sigv4.Identity{}, errors.New("nobody is known to ask")
	}
	return who, nil
}
