package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// layout is where in the running kernel's structures a process's command line is to be found: the offset of
// mm in task_struct, and that of arg_start, which arg_end, env_start and env_end follow, in mm_struct.
// No two kernels need to be alike in that, and not all describe themselves (BTF), so it is looked up in this
// process's own structures, whose content /proc/self/stat tells.
type layout struct{ mm, args int32 }

func (l layout) known() bool { return l.args != 0 }

// How far into the structures it is looked, and how much is read at once.
const (
	taskSize = 16 << 10
	readSize = 2 << 10
)

// errNoLayout is of a kernel where it was not found; command lines are read from /proc then.
var errNoLayout = errors.New("this kernel does not show where command lines are")

// findLayout looks it up.
func findLayout() (layout, error) {
	if strconv.IntSize != 64 {
		return layout{}, errNoLayout
	}
	want, err := ownArgs()
	if err != nil {
		return layout{}, err
	}
	r, err := newPeeker()
	if err != nil {
		return layout{}, err
	}
	defer r.close()
	runtime.LockOSThread() // one task_struct
	defer runtime.UnlockOSThread()
	tried := map[uint64]bool{}
	for base := int32(0); base < taskSize; base += readSize {
		words, err := r.read(0, base)
		if err != nil {
			break // beyond the end of what is mapped
		}
		for i, pointer := range words {
			if pointer>>48 != 0xffff || pointer%8 != 0 || tried[pointer] {
				continue
			}
			tried[pointer] = true
			pointed, err := r.read(pointer, 0)
			if err != nil {
				continue
			}
			if at := index(pointed, want); at > 0 {
				return layout{mm: base + int32(i)*8, args: int32(at) * 8}, nil
			}
		}
	}
	return layout{}, errNoLayout
}

// index finds four words in a row.
func index(words []uint64, want [4]uint64) int {
	for i := range len(words) - 3 {
		if [4]uint64(words[i:i+4]) == want {
			return i
		}
	}
	return -1
}

// ownArgs are this process's arg_start, arg_end, env_start and env_end (proc_pid_stat(5), fields 48 to 51).
func ownArgs() (want [4]uint64, err error) {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return want, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 49 {
		return want, errors.New("/proc/self/stat does not tell where the command line is")
	}
	for i := range want {
		if want[i], err = strconv.ParseUint(fields[45+i], 10, 64); err != nil || want[i] == 0 {
			return want, errors.New("/proc/self/stat does not tell where the command line is")
		}
	}
	return want, nil
}

// peeker reads the kernel's memory by a program that is run for it. Addresses that are none do no harm.
type peeker struct {
	program *ebpf.Program
	buffer  *ebpf.Map // one value: address (0: this thread's task_struct), offset, result, then what was read
}

const peekHead = 24

func newPeeker() (*peeker, error) {
	buffer, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: peekHead + readSize, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "imds_layout", Type: ebpf.SchedCLS, License: kernelLicense,
		Instructions: asm.Instructions{
			asm.StoreImm(asm.R10, atKey, 0, asm.Word),
			asm.LoadMapPtr(asm.R1, buffer.FD()),
			asm.Mov.Reg(asm.R2, asm.R10),
			asm.Add.Imm(asm.R2, atKey),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, pass),
			asm.Mov.Reg(asm.R6, asm.R0),
			asm.LoadMem(asm.R7, asm.R6, 0, asm.DWord),
			asm.JNE.Imm(asm.R7, 0, "given"),
			asm.FnGetCurrentTask.Call(),
			asm.Mov.Reg(asm.R7, asm.R0),
			asm.LoadMem(asm.R3, asm.R6, 8, asm.DWord).WithSymbol("given"),
			asm.Add.Reg(asm.R3, asm.R7),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Add.Imm(asm.R1, peekHead),
			asm.Mov.Imm(asm.R2, readSize),
			asm.FnProbeReadKernel.Call(),
			asm.StoreMem(asm.R6, 16, asm.R0, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol(pass),
			asm.Return(),
		},
	})
	if err != nil {
		_ = buffer.Close()
		return nil, fmt.Errorf("program: %w", err)
	}
	return &peeker{program, buffer}, nil
}

func (r *peeker) close() {
	_ = r.program.Close()
	_ = r.buffer.Close()
}

// read returns the words at an address and offset.
func (r *peeker) read(address uint64, offset int32) ([]uint64, error) {
	value := make([]byte, peekHead+readSize)
	binary.NativeEndian.PutUint64(value, address)
	binary.NativeEndian.PutUint64(value[8:], uint64(offset))
	if err := r.buffer.Put(uint32(0), value); err != nil {
		return nil, err
	}
	if _, err := r.program.Run(&ebpf.RunOptions{Data: make([]byte, 14)}); err != nil {
		return nil, err
	}
	if err := r.buffer.Lookup(uint32(0), value); err != nil {
		return nil, err
	}
	if failed := binary.NativeEndian.Uint64(value[16:]); failed != 0 {
		return nil, fmt.Errorf("nothing at offset %d", offset)
	}
	words := make([]uint64, readSize/8)
	for i := range words {
		words[i] = binary.NativeEndian.Uint64(value[peekHead+8*i:])
	}
	return words, nil
}
