package trace

// The programs of this file run in the kernel, which offers some of what they call only to programs that are
// also under the GPL: they may be used under the Apache License like the rest, under MIT, or under GPL-2.0.

import (
	"encoding/binary"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// kernelLicense is what the kernel is told.
const kernelLicense = "Dual MIT/GPL"

// Every program ends with 1, "let it pass", whatever happens in it.
const (
	pass = "pass"
)

// maps are what the programs and this process share.
type maps struct {
	events *ebpf.Map // ring buffer of records, laid out as in event.go
	lost   *ebpf.Map // per processor: how many of each of lossKinds
	sample *ebpf.Map // one word: a connection is looked at if its hash has none of these bits
	seen   *ebpf.Map // the process images whose command line was told already

	// Of one server's calls; else there are none.
	followed *ebpf.Map // cookies of the connections that are looked at
	unwanted *ebpf.Map // cookies of the network namespaces whose connections to the services are not
}

// Places in bpf_sock_addr and __sk_buff (linux/bpf.h).
const (
	addrIP4, addrIP6, addrPort, addrType             = 4, 8, 24, 32
	skbLen, skbProtocol, skbData, skbDataEnd         = 0, 16, 76, 80
	streamSocket, protocolTCP                        = 1, 6
	hopByHop, routing, fragment, auth, destOpt       = 0, 43, 44, 51, 60
	ringNoWakeup, ringForceWakeup              int32 = 1, 2
	sampleFactor                               int64 = -0x61c8864680b583eb // 2^64 divided by the golden ratio, as signed
)

// Places in the stack of a program, from R10.
const (
	atKey    = -4   // index into an array
	atDst    = -24  // 16 bytes: the service's address, IPv4 mapped
	atCookie = -32  // the socket's cookie
	atMM     = -40  // address of the memory description
	atArgs   = -72  // arg_start, arg_end, env_start, env_end
	atImage  = -96  // tgid and pid, mm, arg_start: key of seen
	atTCP    = -120 // 20 bytes of TCP
	atTTL    = -124 // hops that were left
	atSeen   = -136 // value of seen
	atSource = -152 // 16 bytes: the caller's address, IPv4 mapped
)

// be16 is how the kernel shows a 16-bit number of the network in a register.
func be16(n uint16) int32 {
	return int32(binary.NativeEndian.Uint16([]byte{byte(n >> 8), byte(n)}))
}

// be32 are 4 bytes of the network as an operand of a 32-bit comparison.
func be32(b []byte) int32 { return int32(binary.NativeEndian.Uint32(b)) }

// jumpAddr jumps to to if the 4 or 16 bytes at from+offset are one of the addresses of that family. It uses R2.
func jumpAddr(from asm.Register, offset int16, addrs []netip.Addr, to string) asm.Instructions {
	var is asm.Instructions
	for i, a := range addrs {
		bytes, next := a.AsSlice(), "addr"+to+string(rune('a'+i))+string(rune('0'+len(a.AsSlice())/4))
		for at := 0; at < len(bytes); at += 4 {
			is = append(is, asm.LoadMem(asm.R2, from, offset+int16(at), asm.Word))
			if at+4 < len(bytes) {
				is = append(is, asm.JNE.Imm32(asm.R2, be32(bytes[at:]), next))
			} else {
				is = append(is, asm.JEq.Imm32(asm.R2, be32(bytes[at:]), to))
			}
		}
		if len(bytes) > 4 {
			is = append(is, asm.Mov.Imm(asm.R2, 0).WithSymbol(next))
		}
	}
	return is
}

// storeMapped writes an IPv4 address, in R2, to a place in the stack in its mapped form.
func storeMapped(to int16) asm.Instructions {
	return asm.Instructions{
		asm.StoreImm(asm.R10, to, 0, asm.Word),
		asm.StoreImm(asm.R10, to+4, 0, asm.Word),
		asm.StoreImm(asm.R10, to+8, int64(be32([]byte{0, 0, 0xff, 0xff})), asm.Word),
		asm.StoreMem(asm.R10, to+12, asm.R2, asm.Word),
	}
}

// copyAddr writes 16 bytes at from+offset to a place in the stack. It uses R2.
func copyAddr(to int16, from asm.Register, offset int16) asm.Instructions {
	var is asm.Instructions
	for at := int16(0); at < 16; at += 4 {
		is = append(is, asm.LoadMem(asm.R2, from, offset+at, asm.Word), asm.StoreMem(asm.R10, to+at, asm.R2, asm.Word))
	}
	return is
}

// count adds one to a kind of loss.
func (m maps) count(kind lossKind) asm.Instructions {
	after := "counted" + string(rune('a'+kind))
	return asm.Instructions{
		asm.StoreImm(asm.R10, atKey, int64(kind), asm.Word),
		asm.LoadMapPtr(asm.R1, m.lost.FD()),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, atKey),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, after),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
		asm.Ja.Label(pass).WithSymbol(after),
	}
}

// identify has the cookie of the socket of the context in R6 written to atCookie, and goes on if the
// connection is one of those that are looked at; else to otherwise.
func (m maps) identify(otherwise string) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnGetSocketCookie.Call(),
		asm.StoreMem(asm.R10, atCookie, asm.R0, asm.DWord),
		asm.StoreImm(asm.R10, atKey, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, m.sample.FD()),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, atKey),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, pass),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.LoadMem(asm.R2, asm.R10, atCookie, asm.DWord),
		asm.LoadImm(asm.R3, sampleFactor, asm.DWord),
		asm.Mul.Reg(asm.R2, asm.R3),
		asm.RSh.Imm(asm.R2, 40),
		asm.And.Reg(asm.R1, asm.R2),
		asm.JNE.Imm(asm.R1, 0, otherwise),
	}
}

// reserve makes room for a record, whose address is in R9 then; else it counts the loss and ends.
func (m maps) reserve(size int32, full string) asm.Instructions {
	return asm.Instructions{
		asm.LoadMapPtr(asm.R1, m.events.FD()),
		asm.Mov.Imm(asm.R2, size),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnRingbufReserve.Call(),
		asm.JEq.Imm(asm.R0, 0, full),
		asm.Mov.Reg(asm.R9, asm.R0),
	}
}

// head writes what all records begin with: kind, length of what follows, cookie, time, address.
func head(kind eventKind) asm.Instructions {
	is := asm.Instructions{
		asm.StoreImm(asm.R9, offKind, int64(kind), asm.Word),
		asm.StoreImm(asm.R9, offLen, 0, asm.Word),
		asm.LoadMem(asm.R1, asm.R10, atCookie, asm.DWord),
		asm.StoreMem(asm.R9, offCookie, asm.R1, asm.DWord),
		asm.FnKtimeGetNs.Call(),
		asm.StoreMem(asm.R9, offTime, asm.R0, asm.DWord),
	}
	for at := int16(0); at < 16; at += 8 {
		is = append(is, asm.LoadMem(asm.R1, asm.R10, atDst+at, asm.DWord), asm.StoreMem(asm.R9, offAddr+at, asm.R1, asm.DWord))
	}
	return is
}

func submit(wake int32) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R9),
		asm.Mov.Imm(asm.R2, wake),
		asm.FnRingbufSubmit.Call(),
		asm.Ja.Label(pass),
	}
}

func end() asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, 1).WithSymbol(pass), asm.Return()}
}

func labelled(label string, parts ...asm.Instructions) asm.Instructions {
	is := join(parts...)
	is[0] = is[0].WithSymbol(label)
	return is
}

func join(parts ...asm.Instructions) asm.Instructions {
	var all asm.Instructions
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}
