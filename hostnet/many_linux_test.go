package hostnet_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// BenchmarkAttach attaches, hands over and detaches many endpoints at once, and one more beside them.
// It reports the memory of the process for each, with what the kernel holds for it left out.
func BenchmarkAttach(b *testing.B) {
	needHost(b)
	for _, n := range []int{100, 1000} {
		for _, kind := range []string{"interfaces", "namespaces"} {
			b.Run(fmt.Sprintf("%s=%d", kind, n), func(b *testing.B) {
				endpoints := make([]hostnet.Endpoint, n+1)
				for i := range endpoints {
					endpoints[i].ID = fmt.Sprintf("instance-%d", i)
					if kind == "interfaces" {
						endpoints[i].Interface = fmt.Sprintf("dm%d", i)
					} else {
						endpoints[i].Netns = fmt.Sprintf("dm%d", i)
					}
				}
				if kind == "interfaces" {
					manyInterfaces(b, endpoints)
				} else {
					for _, e := range endpoints {
						newNamespace(b, e.Netns)
					}
				}
				for b.Loop() {
					attachMany(b, endpoints)
				}
			})
		}
	}
}

func manyInterfaces(b testing.TB, endpoints []hostnet.Endpoint) {
	for _, e := range endpoints {
		must(b, netlink.LinkAdd(&netlink.Tuntap{
			LinkAttrs: netlink.LinkAttrs{Name: e.Interface}, Mode: unix.IFF_TAP, Flags: netlink.TUNTAP_NO_PI,
		}))
	}
	b.Cleanup(func() {
		for _, e := range endpoints {
			unplug(e.Interface)
		}
	})
}

func attachMany(b *testing.B, endpoints []hostnet.Endpoint) {
	h, err := hostnet.New(hostnet.Config{Serve: func(_ string, l *hostnet.Listener) func() { return func() { _ = l.Close() } }})
	must(b, err)
	before := resident(b)
	n := len(endpoints) - 1
	start := time.Now()
	must(b, h.Set(endpoints[:n]))
	b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/attach-all")
	b.ReportMetric(float64(resident(b)-before)/float64(n), "B-resident/endpoint")
	start = time.Now()
	must(b, h.Set(endpoints))
	b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "ms/attach-one-more")
	start = time.Now()
	must(b, h.Set(endpoints))
	b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "ms/nothing-to-do")
	start = time.Now()
	must(b, h.Close())
	b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/detach-all")
}

// resident is the memory of the process in bytes.
func resident(t testing.TB) int {
	t.Helper()
	runtime.GC()
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kb), "kB")))
			must(t, err)
			return n * 1024
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
