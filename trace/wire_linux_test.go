package trace

import (
	"bufio"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Headers between those of IPv6 and TCP hide no request.
func TestExtensionHeaders(t *testing.T) {
	padding := string([]byte{0, 0, 1, 4, 0, 0, 0, 0}) // an option that says nothing
	for name, options := range map[string][]int{
		"destination options": {unix.IPV6_DSTOPTS},
		"hop by hop":          {unix.IPV6_HOPOPTS},
		"both":                {unix.IPV6_HOPOPTS, unix.IPV6_DSTOPTS},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			wireServer(n, "fd00:ec2::254", echo)
			w := watch(t, Config{})
			var refused error
			dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
				return c.Control(func(fd uintptr) {
					for _, option := range options {
						if err := unix.SetsockoptString(int(fd), unix.IPPROTO_IPV6, option, padding); err != nil {
							refused = err
						}
					}
				})
			}}
			var c net.Conn
			var err error
			n.in(func() { c, err = dialer.Dial("tcp", "[fd00:ec2::254]:80") })
			if refused != nil {
				t.Skip(refused)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			send(t, c, "GET /latest/meta-data/extended HTTP/1.1\r\nX-aws-ec2-metadata-token: t\r\n\r\n")
			if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			call := w.of(1, func(c Call) bool { return c.Process.PID == os.Getpid() && c.Path == "/latest/meta-data/extended" })[0]
			if call.Version != V2 || call.Status != 200 || call.Address != addrs6[0] {
				t.Errorf("%+v", call)
			}
		})
	}
}

// A socket of IPv6 that speaks IPv4 is seen as what it is.
func TestMappedAddress(t *testing.T) {
	python := program(t, "python3")
	n := newNetwork(t)
	wireServer(n, "169.254.169.254", echo)
	w := watch(t, Config{})
	pid := n.run(python, "-c", `
import socket
s = socket.socket(socket.AF_INET6)
s.connect(("::ffff:169.254.169.254", 80))
s.sendall(b"GET /latest/meta-data/mapped HTTP/1.1\r\n\r\n")
s.recv(100)`)
	c := w.of(1, by(pid))[0]
	if c.Path != "/latest/meta-data/mapped" || c.Address != addrs4[0] || c.Version != V1 {
		t.Errorf("%+v", c)
	}
}

// What is sampled out is counted, and what is not is whole.
func TestSample(t *testing.T) {
	bash := program(t, "bash")
	n := newNetwork(t)
	wireServer(n, "169.254.169.254", echo)
	w := watch(t, Config{})
	k, err := openKernel(findLayout, nil) // beside the other, which sees all
	if err != nil {
		t.Skip(err)
	}
	defer k.close()
	if err := k.lookAt(1); err != nil {
		t.Fatal(err)
	}
	const count = 40
	mine := map[int]bool{}
	for range count {
		mine[n.run(bash, "-c", instant)] = true
	}
	w.of(count, func(c Call) bool { return mine[c.Process.PID] })
	connected, spoke := map[uint64]bool{}, map[uint64]bool{}
	for {
		e, err := k.next(time.Now())
		if err != nil {
			break
		}
		switch {
		case (e.kind == kindConnect || e.kind == kindConnectArgs) && mine[e.image.pid]:
			connected[e.cookie] = true
		case e.kind == kindSent && connected[e.cookie]:
			spoke[e.cookie] = true // bash sends each line by itself
		}
	}
	out := k.losses()[sampledOut]
	if len(connected) == 0 || len(connected) == count || len(spoke) != len(connected) || out < uint64(count-len(connected)) {
		t.Errorf("%d of %d connections, %d with requests, %d sampled out", len(connected), count, len(spoke), out)
	}
}
