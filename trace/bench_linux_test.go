package trace

import (
	"context"
	"encoding/binary"
	"os"
	"testing"
	"time"

	"github.com/openimds/openimds/processes"
)

// record makes a record as the kernel's programs do.
func record(kind eventKind, cookie uint64, payload string) []byte {
	b := make([]byte, max(connectSize, offPayload+len(payload)))
	binary.NativeEndian.PutUint32(b[offKind:], uint32(kind))
	binary.NativeEndian.PutUint64(b[offCookie:], cookie)
	a := imds.As16()
	copy(b[offAddr:], a[:])
	if kind == kindConnect {
		binary.NativeEndian.PutUint64(b[offPID:], uint64(os.Getpid())<<32)
		binary.NativeEndian.PutUint64(b[offMM:], 1)
		binary.NativeEndian.PutUint64(b[offArgStart:], 1)
		copy(b[offComm:], "bench")
		return b
	}
	binary.NativeEndian.PutUint32(b[offLen:], uint32(len(payload)))
	binary.NativeEndian.PutUint32(b[offTotal:], uint32(len(payload)))
	copy(b[offPayload:], payload)
	return b
}

// BenchmarkCall is what a call of a known caller takes, from the kernel's records to the function that takes it.
func BenchmarkCall(b *testing.B) {
	t := &tracer{namer: processes.New(), finished: make(chan *call, 1)}
	t.callers = newCallers(t.namer, nil)
	t.joined = newConversations(t.finish)
	ctx := context.Background()
	sent := record(kindSent, 0, "GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: aws-sdk-go-v2/1.2.3\r\nX-aws-ec2-metadata-token: t\r\n\r\n")
	records := [][]byte{record(kindConnect, 0, ""), sent, record(kindAnswer, 0, "HTTP/1.1 200")}
	b.ReportAllocs()
	for cookie := uint64(1); b.Loop(); cookie++ {
		for _, r := range records {
			binary.NativeEndian.PutUint64(r[offCookie:], cookie)
			e, ok := decode(r)
			if !ok {
				b.Fatal("no record")
			}
			t.take(e, time.Time{})
		}
		c := <-t.finished
		if c.Process, _ = c.who.name(ctx, t.namer); c.Version != V2 || c.Status != 200 {
			b.Fatalf("%+v", c)
		}
	}
}
