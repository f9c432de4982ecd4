package trace

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// connectProgram tells of every connection that is begun to one of the addresses at port 80, or to a listener: who, and, the
// first time for each process image, with which command line. It runs in the process's own context, which
// waits in connect(2): nothing of it can be gone yet.
func connectProgram(m maps, to ends, at layout, v6 bool) *ebpf.ProgramSpec {
	spec := &ebpf.ProgramSpec{
		Name: "imds_connect4", Type: ebpf.CGroupSockAddr, AttachType: ebpf.AttachCGroupInet4Connect, License: kernelLicense,
	}
	is := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R6, addrType, asm.Word),
		asm.JNE.Imm(asm.R2, streamSocket, pass),
		asm.LoadMem(asm.R2, asm.R6, addrPort, asm.Word),
		asm.JNE.Imm(asm.R2, be16(servicePort), "other"),
	}
	if v6 {
		spec.Name, spec.AttachType = "imds_connect6", ebpf.AttachCGroupInet6Connect
		is = append(is, jumpAddr(asm.R6, addrIP6, to.within6(), "service")...)
	} else {
		is = append(is, jumpAddr(asm.R6, addrIP4, addrs4, "service")...)
	}
	is = append(is, to.local(v6)...)
	is = append(is, to.mayBe(m)...)
	if v6 {
		is = append(is, labelled("match", copyAddr(atDst, asm.R6, addrIP6))...)
	} else {
		is = append(is, labelled("match", asm.Instructions{asm.LoadMem(asm.R2, asm.R6, addrIP4, asm.Word)}, storeMapped(atDst))...)
	}
	is = append(is, m.identify("sampled")...)
	is = append(is, m.follow()...)
	if at.known() {
		is = append(is, m.image(at)...)
		is = append(is, m.connectWithArgs()...)
	}
	wake := ringNoWakeup
	if !at.known() { // what is not told here has to be read while the process is there
		wake = ringForceWakeup
	}
	is = append(is, labelled("short", m.reserve(connectSize, "full"), head(kindConnect), whoCalls(at), submit(wake))...)
	is = append(is, labelled("full", m.count(lostConnect))...)
	is = append(is, labelled("sampled", m.count(sampledOut))...)
	spec.Instructions = append(is, end()...)
	return spec
}

// whoCalls writes who runs, and from which network namespace: R9 is the record, R6 the context.
func whoCalls(at layout) asm.Instructions {
	is := asm.Instructions{
		asm.FnGetCurrentPidTgid.Call(),
		asm.StoreMem(asm.R9, offPID, asm.R0, asm.DWord),
		asm.FnGetCurrentUidGid.Call(),
		asm.StoreMem(asm.R9, offUID, asm.R0, asm.DWord),
		asm.FnGetCurrentCgroupId.Call(),
		asm.StoreMem(asm.R9, offCgroup, asm.R0, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnGetNetnsCookie.Call(),
		asm.StoreMem(asm.R9, offNetns, asm.R0, asm.DWord),
		asm.StoreImm(asm.R9, offMM, 0, asm.Word),
		asm.StoreImm(asm.R9, offMM+4, 0, asm.Word),
		asm.StoreImm(asm.R9, offArgStart, 0, asm.Word),
		asm.StoreImm(asm.R9, offArgStart+4, 0, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R9),
		asm.Add.Imm(asm.R1, offComm),
		asm.Mov.Imm(asm.R2, commSize),
		asm.FnGetCurrentComm.Call(),
	}
	if at.known() {
		is = append(is,
			asm.LoadMem(asm.R1, asm.R10, atMM, asm.DWord),
			asm.StoreMem(asm.R9, offMM, asm.R1, asm.DWord),
			asm.LoadMem(asm.R1, asm.R10, atArgs, asm.DWord),
			asm.StoreMem(asm.R9, offArgStart, asm.R1, asm.DWord),
		)
	}
	return is
}

// image finds the memory of the process and where its command line is in it: together they tell a program
// that a process has executed from every other. If that one is in seen it goes to "short".
func (m maps) image(at layout) asm.Instructions {
	read := func(to int16, size, offset int32) asm.Instructions { // from R3+offset
		return asm.Instructions{
			asm.Add.Imm(asm.R3, offset),
			asm.Mov.Reg(asm.R1, asm.R10),
			asm.Add.Imm(asm.R1, int32(to)),
			asm.Mov.Imm(asm.R2, size),
			asm.FnProbeReadKernel.Call(),
		}
	}
	return join(
		asm.Instructions{
			asm.StoreImm(asm.R10, atMM, 0, asm.Word),
			asm.StoreImm(asm.R10, atMM+4, 0, asm.Word),
			asm.FnGetCurrentTask.Call(),
			asm.Mov.Reg(asm.R3, asm.R0),
		},
		read(atMM, 8, at.mm),
		asm.Instructions{asm.LoadMem(asm.R3, asm.R10, atMM, asm.DWord)},
		read(atArgs, 32, at.args), // zeros where it cannot be read
		asm.Instructions{
			asm.FnGetCurrentPidTgid.Call(),
			asm.RSh.Imm(asm.R0, 32),
			asm.StoreMem(asm.R10, atImage, asm.R0, asm.DWord),
			asm.LoadMem(asm.R1, asm.R10, atMM, asm.DWord),
			asm.StoreMem(asm.R10, atImage+8, asm.R1, asm.DWord),
			asm.LoadMem(asm.R1, asm.R10, atArgs, asm.DWord),
			asm.StoreMem(asm.R10, atImage+16, asm.R1, asm.DWord),
			asm.JEq.Imm(asm.R1, 0, "short"),
			asm.LoadMapPtr(asm.R1, m.seen.FD()),
			asm.Mov.Reg(asm.R2, asm.R10),
			asm.Add.Imm(asm.R2, atImage),
			asm.FnMapLookupElem.Call(),
			asm.JNE.Imm(asm.R0, 0, "short"),
		},
	)
}

// connectWithArgs writes the long record, and notes the image in seen. What was executed stands behind the
// environment (the kernel's fs/exec.c puts it there first, growing down).
func (m maps) connectWithArgs() asm.Instructions {
	return join(
		m.reserve(connectArgsSize, "full"), head(kindConnectArgs), whoCalls(layout{mm: 1, args: 1}),
		asm.Instructions{
			asm.StoreImm(asm.R9, offExec, 0, asm.Word),
			asm.StoreImm(asm.R9, offExec+4, 0, asm.Word),
			asm.Mov.Reg(asm.R1, asm.R9),
			asm.Add.Imm(asm.R1, offExec),
			asm.Mov.Imm(asm.R2, execSize),
			asm.LoadMem(asm.R3, asm.R10, atArgs+24, asm.DWord),
			asm.FnProbeReadUserStr.Call(),

			asm.LoadMem(asm.R2, asm.R10, atArgs+8, asm.DWord),
			asm.LoadMem(asm.R3, asm.R10, atArgs, asm.DWord),
			asm.Sub.Reg(asm.R2, asm.R3),
			asm.JLE.Imm(asm.R2, argsSize, "fits"),
			asm.Mov.Imm(asm.R2, argsSize),
			asm.StoreMem(asm.R9, offLen, asm.R2, asm.Word).WithSymbol("fits"),
			asm.Mov.Reg(asm.R1, asm.R9),
			asm.Add.Imm(asm.R1, offArgs),
			asm.FnProbeReadUser.Call(),
			asm.JEq.Imm(asm.R0, 0, "read"),
			asm.StoreImm(asm.R9, offLen, 0, asm.Word),
			asm.StoreImm(asm.R10, atSeen, 1, asm.Word).WithSymbol("read"),
			asm.StoreImm(asm.R10, atSeen+4, 0, asm.Word),
			asm.LoadMapPtr(asm.R1, m.seen.FD()),
			asm.Mov.Reg(asm.R2, asm.R10),
			asm.Add.Imm(asm.R2, atImage),
			asm.Mov.Reg(asm.R3, asm.R10),
			asm.Add.Imm(asm.R3, atSeen),
			asm.Mov.Imm(asm.R4, 0),
			asm.FnMapUpdateElem.Call(),
		},
		submit(ringForceWakeup),
	)
}
