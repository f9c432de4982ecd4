package hostnet_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/openimds/openimds/hostnet"
	"golang.org/x/sys/unix"
)

// BenchmarkBridgeGuest is a connection, an answer and the end of the connection, from a port of a bridge:
// what the tables cost each request.
func BenchmarkBridgeGuest(b *testing.B) {
	needHost(b)
	bridge(b, "br0", "10.0.0.1/24")
	guest := machine(b, "b1", "p1", "10.0.0.5/24")
	plug(b, "p1", "br0")
	guest.connects(b, hostnet.Endpoint{ID: "one", Interface: "p1", IPv6: true})
}

// BenchmarkInterfaceGuest is the same from an interface, alone or beside so many others.
func BenchmarkInterfaceGuest(b *testing.B) {
	needHost(b)
	for _, others := range []int{0, 1000} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			endpoints := make([]hostnet.Endpoint, others, others+1)
			for i := range endpoints {
				endpoints[i].ID = fmt.Sprintf("instance-%d", i)
				endpoints[i].Interface = fmt.Sprintf("dm%d", i)
				newNamespace(b, endpoints[i].Interface).cable(endpoints[i].Interface, "eth0")
			}
			guest := machine(b, "g1", "i1", "10.0.0.5/24")
			guest.connects(b, append(endpoints, hostnet.Endpoint{ID: "one", Interface: "i1"})...)
		})
	}
}

func (guest *namespace) connects(b *testing.B, endpoints ...hostnet.Endpoint) {
	h, err := hostnet.New(hostnet.Config{Serve: (&guests{conns: map[net.Conn]bool{}}).serve})
	must(b, err)
	defer func() { must(b, h.Close()) }()
	must(b, h.Set(endpoints))
	guest.hears(metadata4, "one")
	guest.do(func() {
		to := &unix.SockaddrInet4{Addr: [4]byte(addr(metadata4)), Port: 80}
		buf := make([]byte, 256)
		for b.Loop() {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			must(b, err)
			must(b, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})) // ports are few
			must(b, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(forever / time.Second)}))
			must(b, unix.Connect(fd, to))
			_, err = unix.Read(fd, buf)
			must(b, err)
			must(b, unix.Close(fd))
		}
	})
}
