package hostdoor_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/hostdoor"
	"github.com/openimds/openimds/hostlink"
)

// frame is one of HTTP/2.
func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	return append(binary.BigEndian.AppendUint32(append(head, flags), stream), payload...)
}

// An answer that nobody takes is given up. By HTTP/2 a client says that it takes no byte of any, and needs no
// certificate for that.
func TestAnswerThatNobodyTakes(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.door.SetTakeTime(10 * time.Millisecond)
	by, err := hostcert.JoinTLS(r.invite("host-a"))
	must(t, err)
	by.NextProtos = []string{"h2"}
	c, err := tls.Dial("tcp", r.address, by)
	must(t, err)
	defer func() { _ = c.Close() }()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	const settings, headers, reset = 4, 1, 3
	_, err = c.Write(bytes.Join([][]byte{
		[]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		frame(settings, 0, 0, []byte{0, 4, 0, 0, 0, 0}), // the initial window is none
		// GET https://x/v1/follow, with its end: an answer of 405 is to come.
		frame(headers, 0x5, 1, append([]byte{0x82, 0x87, 0x84, 0x41, 1}, 'x')),
	}, nil))
	must(t, err)
	for head := make([]byte, 9); ; {
		if _, err := io.ReadFull(c, head); err != nil {
			t.Fatalf("the replica waits for its answer to be taken: %v", err)
		}
		payload := make([]byte, binary.BigEndian.Uint32(head)>>8)
		_, err := io.ReadFull(c, payload)
		must(t, err)
		if kind := head[3]; kind == reset && binary.BigEndian.Uint32(head[5:]) == 1 {
			return
		}
	}
}

// One source leaves others room, and who is no host does not stay.
func TestConnectionsOfOneSource(t *testing.T) {
	t.Parallel()
	const most = 4 // of which one source has half
	r := newReplica(t, func(c *hostdoor.Config) { c.Connections = most })
	by, err := hostcert.JoinTLS(r.invite("host-a"))
	must(t, err)
	var all []*tls.Conn
	for {
		c, err := tls.Dial("tcp", r.address, by)
		if err != nil {
			break
		}
		defer func() { _ = c.Close() }()
		if all = append(all, c); len(all) > most/2 {
			t.Fatalf("one source has %d of %d connections", len(all), most)
		}
	}
	if len(all) != most/2 {
		t.Fatalf("one source has %d of %d connections", len(all), most)
	}
	must(t, all[0].SetDeadline(time.Now().Add(patience)))
	_, err = all[0].Write([]byte("POST /v1/keep HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"))
	must(t, err)
	if _, err := io.ReadAll(all[0]); err != nil { // it is closed after the answer
		t.Error(err)
	}
	eventually(t, "there is room again", func() bool {
		c, err := tls.Dial("tcp", r.address, by)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// hang keeps n requests under way, whose bodies do not end, and waits until one more has no place. One that ends by
// itself, as of too many streams at once on a connection, is sent again.
func hang(t *testing.T, by *http.Client, url string, n int, probe func() int) (let func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var hanging sync.WaitGroup
	for range n {
		hanging.Go(func() {
			for ctx.Err() == nil {
				body, end := io.Pipe()
				q, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
				if err != nil {
					t.Error(err)
					return
				}
				if resp, err := by.Do(q); err == nil {
					_ = resp.Body.Close()
				}
				_ = end.Close()
			}
		})
	}
	let = sync.OnceFunc(func() { cancel(); hanging.Wait() })
	t.Cleanup(let)
	eventually(t, "no place is left", func() bool { return probe() == http.StatusTooManyRequests })
	return let
}

// A host has so many requests under way, and no more.
func TestRequestsUnderWay(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a, b := r.join("host-a"), r.join("host-b")
	probe := func(h *host) func() int {
		return func() int {
			status, _, _ := h.try(hostlink.PathKeep, hostlink.LeaseRequest{Of: hostlink.Of{Region: home, Process: process}, Lease: h.lease})
			return status
		}
	}
	let := hang(t, a.http, "https://"+a.address+hostlink.PathKeep, hostdoor.MaxCalls, probe(a))
	eventually(t, "another host has places", func() bool { return probe(b)() != http.StatusTooManyRequests })
	let()
	eventually(t, "the host has places again", func() bool { return probe(a)() != http.StatusTooManyRequests })
}

// Who only wants to join has little room, and leaves hosts theirs.
func TestRoomOfStrangers(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a := r.join("host-a")
	by, err := hostcert.JoinTLS(r.invite("host-b"))
	must(t, err)
	stranger := &host{t: t, address: r.address, http: &http.Client{Transport: &http.Transport{TLSClientConfig: by, ForceAttemptHTTP2: true}}}
	t.Cleanup(stranger.http.CloseIdleConnections)
	large := hostlink.RedeemRequest{Token: openimds.NewJoinToken("host-b"), Request: bytes.Repeat([]byte("x"), 40<<10)}
	if status, answer := stranger.ask(hostlink.PathRedeem, large); status != http.StatusBadRequest || !strings.Contains(answer, "32 KiB") {
		t.Errorf("a large request to join: %d %s", status, answer)
	}
	probe := func() int {
		status, _, _ := stranger.try(hostlink.PathRedeem, struct{}{})
		return status
	}
	let := hang(t, stranger.http, "https://"+r.address+hostlink.PathRedeem, hostdoor.MaxRedeems/4, probe)
	patiently(t, func() error { return a.region.KeepAlive(t.Context(), a.lease) })
	let()
	eventually(t, "there is room again", func() bool { return probe() == http.StatusForbidden })
}
