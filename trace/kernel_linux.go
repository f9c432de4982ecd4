package trace

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// kernel is the source of events that the programs are.
type kernel struct {
	maps
	reader  *ringbuf.Reader
	record  ringbuf.Record
	cleanup []func() error
	layout  layout
	ends    ends
	only    *Server         // nil: every call
	left    map[uint64]bool // network namespaces that nothing is told of
	asked   time.Time
	// groups is the root of the control groups, by which an identifier becomes a path.
	groups *os.File
}

// ringSize holds about 7,000 requests, which is more than a second of the most that is looked at.
const ringSize = 4 << 20

// images is how many processes' command lines are remembered, here and in the kernel.
const images = 4096

// openKernel loads the programs and attaches them to all control groups; find looks for where command lines are.
func openKernel(find func() (layout, error), only *Server) (*kernel, error) {
	k := &kernel{ends: endsOf(only), only: only, left: map[uint64]bool{}}
	if err := k.open(find); err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

func (k *kernel) open(find func() (layout, error)) (err error) {
	if err := rlimit.RemoveMemlock(); err != nil && !errors.Is(err, unix.EPERM) { // kernels before 5.11
		return fmt.Errorf("memory for eBPF: %w", err)
	}
	if k.groups, err = controlGroups(); err != nil {
		return err
	}
	k.cleanup = append(k.cleanup, k.groups.Close)
	for _, m := range []struct {
		to   **ebpf.Map
		spec ebpf.MapSpec
	}{
		{&k.events, ebpf.MapSpec{Name: "imds_events", Type: ebpf.RingBuf, MaxEntries: ringSize}},
		{&k.lost, ebpf.MapSpec{Name: "imds_lost", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: uint32(lossKinds)}},
		{&k.sample, ebpf.MapSpec{Name: "imds_sample", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1}},
		{&k.seen, ebpf.MapSpec{Name: "imds_seen", Type: ebpf.LRUHash, KeySize: 24, ValueSize: 8, MaxEntries: images}},
		{&k.followed, ebpf.MapSpec{Name: "imds_followed", Type: ebpf.LRUHash, KeySize: 8, ValueSize: 8, MaxEntries: mostConversations}},
		{&k.unwanted, ebpf.MapSpec{Name: "imds_unwanted", Type: ebpf.Hash, KeySize: 8, ValueSize: 8, MaxEntries: mostLeft}},
	} {
		if k.only == nil && (m.to == &k.followed || m.to == &k.unwanted) {
			continue
		}
		if *m.to, err = ebpf.NewMap(&m.spec); err != nil {
			return fmt.Errorf("eBPF map %s: %w", m.spec.Name, err)
		}
		k.cleanup = append(k.cleanup, (*m.to).Close)
	}
	if k.layout, err = find(); err != nil {
		k.layout = layout{} // /proc has to do
	}
	if k.reader, err = ringbuf.NewReader(k.events); err != nil {
		return fmt.Errorf("eBPF ring buffer: %w", err)
	}
	k.cleanup = append(k.cleanup, k.reader.Close)
	// What is sent comes after who sends it: that order of attaching leaves nobody half seen.
	for _, spec := range []*ebpf.ProgramSpec{
		connectProgram(k.maps, k.ends, k.layout, false), connectProgram(k.maps, k.ends, k.layout, true),
		packetProgram(k.maps, k.ends, answered), packetProgram(k.maps, k.ends, sent),
	} {
		if err := k.attach(spec); err != nil {
			return err
		}
	}
	return nil
}

func (k *kernel) attach(spec *ebpf.ProgramSpec) error {
	program, err := ebpf.NewProgram(spec)
	if err != nil {
		return fmt.Errorf("eBPF program %s: %w", spec.Name, err)
	}
	k.cleanup = append(k.cleanup, program.Close)
	l, err := link.AttachCgroup(link.CgroupOptions{
		Path: fmt.Sprintf("/proc/self/fd/%d", k.groups.Fd()), Attach: spec.AttachType, Program: program,
	})
	if err != nil {
		return fmt.Errorf("attaching the eBPF program %s: %w", spec.Name, err)
	}
	k.cleanup = append(k.cleanup, l.Close)
	return nil
}

// close takes the programs away again; the kernel does that too where this process is killed.
func (k *kernel) close() {
	for i := len(k.cleanup) - 1; i >= 0; i-- {
		_ = k.cleanup[i]()
	}
	k.cleanup = nil
}

// next waits for an event until a time; [os.ErrDeadlineExceeded] says that there is none.
func (k *kernel) next(until time.Time) (event, error) {
	k.reader.SetDeadline(until)
	k.askAgain()
	for {
		if err := k.reader.ReadInto(&k.record); err != nil {
			return event{}, err
		}
		if e, ok := decode(k.record.RawSample); ok && !k.leaves(e) {
			return e, nil
		}
	}
}

// losses is how many of each kind were lost so far.
func (k *kernel) losses() (sums [lossKinds]uint64) {
	for kind := range lossKinds {
		var each []uint64
		if k.lost.Lookup(uint32(kind), &each) != nil {
			continue
		}
		for _, n := range each {
			sums[kind] += n
		}
	}
	return sums
}

// lookAt has one of 2^n connections looked at.
func (k *kernel) lookAt(n uint) error {
	return k.sample.Put(uint32(0), uint64(1)<<n-1)
}
