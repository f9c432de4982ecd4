// Command trace measures what "openimds trace" costs: its CPU time beside new connections at a given rate, and the
// latency that it adds to them, with and without it in turns; with -serve, what connections to somebody else's service cost
// a server that names its own callers; with -memory, what many callers leave resident over a time. It takes root, and a
// program (-openimds) that was built before.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

const service = "169.254.169.254:80"

type settings struct {
	openimds string
	rates    string
	rounds   int
	duration time.Duration
	serve    bool
	memory   time.Duration
	callers  int
	inside   bool
	guest    bool
	caller   string
}

func main() {
	var s settings
	flag.StringVar(&s.openimds, "openimds", "../bin/openimds", "the program")
	flag.StringVar(&s.rates, "rates", "1000,5000", "new connections a second")
	flag.IntVar(&s.rounds, "rounds", 5, "pairs of a measurement without and one with the trace")
	flag.DurationVar(&s.duration, "duration", time.Second, "of one measurement")
	flag.BoolVar(&s.serve, "serve", false, "measure a server beside calls that are not its own instead; -openimds may be several programs, with commas")
	flag.DurationVar(&s.memory, "memory", 0, "measure memory over so long instead, with so many -callers")
	flag.IntVar(&s.callers, "callers", 10_000, "processes that call in the time of -memory, each with a command line and a user agent of its own")
	flag.BoolVar(&s.guest, "guest", false, "set by the program itself: it is the guest that has the callers")
	flag.StringVar(&s.caller, "caller", "", "set by the program itself: it is the caller of this number")
	flag.BoolVar(&s.inside, "inside", false, "set by the program itself: it is in a network namespace of its own")
	flag.Parse()
	log.SetFlags(0)
	if err := s.run(); err != nil {
		log.Fatal(err)
	}
}

func (s settings) run() error {
	switch {
	case s.caller != "":
		return call(s.caller)
	case s.guest:
		return s.beGuest()
	case !s.inside:
		again := exec.Command("/proc/self/exe", append(os.Args[1:], "-inside")...)
		again.Stdout, again.Stderr = os.Stdout, os.Stderr
		again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		return again.Run()
	}
	fmt.Printf("%d CPUs, load %s, %s\n", runtime.NumCPU(), firstWord("/proc/loadavg"), runtime.Version())
	if err := serve(s.memory == 0); err != nil {
		return err
	}
	if s.memory > 0 {
		return s.measureMemory()
	}
	fmt.Printf("%d rounds of %v\n\n", s.rounds, s.duration)
	if s.serve {
		fmt.Println("| Program | others' connections a second | CPU of the server, one core | at rest | memory |")
		fmt.Println("|---|---|---|---|---|")
		return s.eachRate(s.measureServers)
	}
	fmt.Println("| Connections a second | made | CPU of trace, one core | for each | latency without, median | with | added, median of pairs | memory |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	return s.eachRate(s.measure)
}

func (s settings) eachRate(measure func(rate int) error) error {
	for word := range strings.SplitSeq(s.rates, ",") {
		rate, err := strconv.Atoi(word)
		if err != nil || rate <= 0 {
			return fmt.Errorf("-rates: %q is no rate", word)
		}
		if err := measure(rate); err != nil {
			return err
		}
	}
	return nil
}

// serve brings the loopback interface up and, if it is to answer, answers at the service's address, as little as possible.
func serve(answers bool) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil || !answers {
		return err
	}
	addr, err := netlink.ParseAddr("169.254.169.254/32")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(lo, addr); err != nil {
		return err
	}
	l, err := net.Listen("tcp", service)
	if err != nil {
		return err
	}
	for range 4 {
		go func() {
			b := make([]byte, 1024)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				if _, err := c.Read(b); err == nil {
					_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"))
				}
				_ = c.Close()
			}
		}()
	}
	return nil
}

// figures are of one measurement.
type figures struct {
	latencies []time.Duration
	cpu       time.Duration
	took      time.Duration
	memory    string
}

func (f figures) median() time.Duration { return median(f.latencies) }

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func (s settings) measure(rate int) error {
	var without, with []figures
	for range s.rounds {
		f, err := load(rate, s.duration, 0)
		if err != nil {
			return err
		}
		without = append(without, f)
		if f, err = s.traced(rate); err != nil {
			return err
		}
		with = append(with, f)
	}
	var added, before, after []time.Duration
	var cpu, took time.Duration
	made := 0
	for i := range with {
		before, after = append(before, without[i].median()), append(after, with[i].median())
		added = append(added, with[i].median()-without[i].median())
		cpu, took, made = cpu+with[i].cpu, took+with[i].took, made+len(with[i].latencies)
	}
	fmt.Printf("| %d | %.0f | %.1f %% | %.1f µs | %v | %v | %v (%v to %v) | %s |\n", rate, float64(made)/took.Seconds(), 100*cpu.Seconds()/took.Seconds(),
		float64(cpu.Microseconds())/float64(made), median(before).Round(time.Microsecond), median(after).Round(time.Microsecond),
		median(added).Round(time.Microsecond), slices.Min(added).Round(time.Microsecond), slices.Max(added).Round(time.Microsecond), with[len(with)-1].memory)
	return nil
}

// traced measures beside a trace.
func (s settings) traced(rate int) (figures, error) {
	dir, err := os.MkdirTemp("", "bench-trace")
	if err != nil {
		return figures{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	pid, stop, err := startTrace(s.openimds, dir, "-o", "json")
	if err != nil {
		return figures{}, err
	}
	defer stop()
	// The first call of a program is named, which takes longer than all that follow.
	if _, err := load(100, time.Second, 0); err != nil {
		return figures{}, err
	}
	return load(rate, s.duration, pid)
}

// load makes connections at a rate, from a few goroutines that each keep to their times, and takes the CPU time of a process.
func load(rate int, duration time.Duration, pid int) (figures, error) {
	const workers = 8
	var f figures
	var mu sync.Mutex
	var failed error
	var all sync.WaitGroup
	used, began := cpuOf(pid), time.Now()
	for w := range workers {
		all.Go(func() {
			var own []time.Duration
			for i := w; ; i += workers {
				at := began.Add(time.Duration(i) * time.Second / time.Duration(rate))
				if at.Sub(began) >= duration {
					break
				}
				time.Sleep(time.Until(at))
				took, err := ask()
				if err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
				own = append(own, took)
			}
			mu.Lock()
			defer mu.Unlock()
			f.latencies = append(f.latencies, own...)
		})
	}
	all.Wait()
	f.took = time.Since(began)
	f.cpu = cpuOf(pid) - used
	f.memory = field(pid, "VmRSS:")
	if failed == nil && len(f.latencies) == 0 {
		failed = errors.New("no connection was made")
	}
	return f, failed
}

func ask() (time.Duration, error) {
	began := time.Now()
	c, err := net.Dial("tcp", service)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write([]byte("GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: bench\r\n\r\n")); err != nil {
		return 0, err
	}
	_, err = bufio.NewReader(c).ReadString('x')
	return time.Since(began), err
}

// cpuOf is the CPU time of all threads of a process (schedstat of the kernel's documentation, in nanoseconds).
func cpuOf(pid int) time.Duration {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	var sum time.Duration
	for _, task := range tasks {
		n, _ := strconv.ParseInt(firstWord(task), 10, 64)
		sum += time.Duration(n)
	}
	return sum
}

// field is a figure of a process's status, such as "VmRSS:".
func field(pid int, name string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, name); found {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func firstWord(path string) string {
	text, _ := os.ReadFile(path)
	word, _, _ := strings.Cut(string(text), " ")
	return word
}
