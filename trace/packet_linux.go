package trace

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// A direction says where in a packet the service is.
type direction struct {
	name          string
	attach        ebpf.AttachType
	ip4, ip6      int16 // the service's address
	from4, from6  int16 // the caller's
	port          int16 // the service's port
	kind          eventKind
	lost          lossKind
	beginningOnly bool
}

var (
	sent     = direction{"imds_sent", ebpf.AttachCGroupInetEgress, 16, 24, 12, 8, 2, kindSent, lostSent, false}
	answered = direction{"imds_answered", ebpf.AttachCGroupInetIngress, 12, 8, 16, 24, 0, kindAnswer, lostAnswer, true}
)

// packetProgram tells what is sent to the service, or the beginnings of what it answers. It runs for every packet
// of this machine's sockets, so that what is another's is left after a few instructions.
func packetProgram(m maps, to ends, d direction) *ebpf.ProgramSpec {
	is := join(
		asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.LoadMem(asm.R4, asm.R6, skbProtocol, asm.Word),
			asm.LoadMem(asm.R7, asm.R6, skbData, asm.Word),
			asm.LoadMem(asm.R3, asm.R6, skbDataEnd, asm.Word),
			asm.JEq.Imm(asm.R4, be16(0x86dd), "v6"),
			asm.JNE.Imm(asm.R4, be16(0x0800), pass),
		},
		ip4(to, d), labelled("v6", ip6(to, d)),
		labelled("tcp", payload(to, d)),
		m.identify(pass),
		m.isFollowed(),
		m.reportPacket(d),
		labelled("full", m.count(d.lost)),
		end(),
	)
	return &ebpf.ProgramSpec{Name: d.name, Type: ebpf.CGroupSKB, AttachType: d.attach, Instructions: is, License: kernelLicense}
}

// ip4 finds the service's address, and leaves the size of the header in R7.
func ip4(to ends, d direction) asm.Instructions {
	return join(
		asm.Instructions{
			asm.Mov.Reg(asm.R5, asm.R7),
			asm.Add.Imm(asm.R5, 20),
			asm.JGT.Reg(asm.R5, asm.R3, pass),
		},
		jumpAddr(asm.R7, d.ip4, to.all4(), "match4"),
		asm.Instructions{
			asm.Ja.Label(to.elsewhere("match4")),
			asm.LoadMem(asm.R2, asm.R7, 9, asm.Byte).WithSymbol("match4"),
			asm.JNE.Imm(asm.R2, protocolTCP, pass),
			asm.LoadMem(asm.R2, asm.R7, 6, asm.Half),
			asm.And.Imm(asm.R2, be16(0x1fff)), // a later fragment has no TCP header
			asm.JNE.Imm(asm.R2, 0, pass),
			asm.LoadMem(asm.R2, asm.R7, 8, asm.Byte),
			asm.StoreMem(asm.R10, atTTL, asm.R2, asm.Word),
			asm.LoadMem(asm.R2, asm.R7, d.ip4, asm.Word),
		},
		storeMapped(atDst),
		asm.Instructions{asm.LoadMem(asm.R2, asm.R7, d.from4, asm.Word)},
		storeMapped(atSource),
		asm.Instructions{
			asm.LoadMem(asm.R2, asm.R7, 0, asm.Byte),
			asm.And.Imm(asm.R2, 15),
			asm.LSh.Imm(asm.R2, 2),
			asm.Mov.Reg(asm.R7, asm.R2),
			asm.Ja.Label("tcp"),
		},
	)
}

// extensionHeaders are how many headers between IPv6 and TCP are looked through.
const extensionHeaders = 6

// ip6 does the same with IPv6, over its extension headers.
func ip6(to ends, d direction) asm.Instructions {
	is := join(
		asm.Instructions{
			asm.Mov.Reg(asm.R5, asm.R7),
			asm.Add.Imm(asm.R5, 40),
			asm.JGT.Reg(asm.R5, asm.R3, pass),
		},
		jumpAddr(asm.R7, d.ip6, to.all6(), "match6"),
		asm.Instructions{
			asm.Ja.Label(to.elsewhere("match6")),
			asm.LoadMem(asm.R2, asm.R7, 7, asm.Byte).WithSymbol("match6"),
			asm.StoreMem(asm.R10, atTTL, asm.R2, asm.Word),
		},
		copyAddr(atDst, asm.R7, d.ip6),
		copyAddr(atSource, asm.R7, d.from6),
		asm.Instructions{
			asm.LoadMem(asm.R8, asm.R7, 6, asm.Byte),
			asm.Mov.Imm(asm.R7, 40),
		},
	)
	for i := range extensionHeaders {
		n := string(rune('0' + i))
		is = append(is,
			asm.JEq.Imm(asm.R8, protocolTCP, "tcp"),
			asm.JEq.Imm(asm.R8, hopByHop, "extension"+n),
			asm.JEq.Imm(asm.R8, routing, "extension"+n),
			asm.JEq.Imm(asm.R8, fragment, "extension"+n),
			asm.JEq.Imm(asm.R8, auth, "extension"+n),
			asm.JNE.Imm(asm.R8, destOpt, pass),
			asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("extension"+n),
			asm.Mov.Reg(asm.R2, asm.R7),
			asm.Mov.Reg(asm.R3, asm.R10),
			asm.Add.Imm(asm.R3, atTCP),
			asm.Mov.Imm(asm.R4, 4),
			asm.FnSkbLoadBytes.Call(),
			asm.JNE.Imm(asm.R0, 0, pass),
			asm.LoadMem(asm.R2, asm.R10, atTCP+1, asm.Byte), // its length, in a unit that depends on what it is
			asm.JEq.Imm(asm.R8, fragment, "fragment"+n),
			asm.JEq.Imm(asm.R8, auth, "auth"+n),
			asm.Add.Imm(asm.R2, 1),
			asm.LSh.Imm(asm.R2, 3),
			asm.Ja.Label("next"+n),
			asm.Add.Imm(asm.R2, 2).WithSymbol("auth"+n),
			asm.LSh.Imm(asm.R2, 2),
			asm.Ja.Label("next"+n),
			asm.LoadMem(asm.R2, asm.R10, atTCP+2, asm.Half).WithSymbol("fragment"+n),
			asm.And.Imm(asm.R2, be16(0xfff8)),
			asm.JNE.Imm(asm.R2, 0, pass),
			asm.Mov.Imm(asm.R2, 8),
			asm.Add.Reg(asm.R7, asm.R2).WithSymbol("next"+n),
			asm.LoadMem(asm.R8, asm.R10, atTCP, asm.Byte),
		)
	}
	return append(is, asm.JNE.Imm(asm.R8, protocolTCP, pass))
}

// payload checks the port, and leaves where the payload begins in R7 and its size, at least 1, in R8.
func payload(to ends, d direction) asm.Instructions {
	is := asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, atTCP),
		asm.Mov.Imm(asm.R4, 20),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, pass),
		asm.LoadMem(asm.R2, asm.R10, atTCP+d.port, asm.Half),
	}
	for _, port := range to.ports() {
		is = append(is, asm.JEq.Imm(asm.R2, be16(port), "port"))
	}
	return append(is,
		asm.Ja.Label(pass),
		asm.LoadMem(asm.R2, asm.R10, atTCP+12, asm.Byte).WithSymbol("port"),
		asm.RSh.Imm(asm.R2, 4),
		asm.LSh.Imm(asm.R2, 2),
		asm.Add.Reg(asm.R7, asm.R2),
		asm.LoadMem(asm.R8, asm.R6, skbLen, asm.Word),
		asm.JLE.Reg(asm.R8, asm.R7, pass),
		asm.Sub.Reg(asm.R8, asm.R7),
	)
}

// reportPacket writes the record with the payload, or as much as there is room for: small ones are the rule.
func (m maps) reportPacket(d direction) asm.Instructions {
	if d.beginningOnly {
		return m.reportAnswer(d)
	}
	body := func(room int32, label string) asm.Instructions {
		return join(
			m.reserve(offPayload+room, "full"), head(d.kind), wire(),
			asm.Instructions{
				asm.StoreMem(asm.R9, offTotal, asm.R8, asm.Word),
				asm.JGT.Imm(asm.R8, 0, "some"+label),
				asm.Mov.Imm(asm.R8, 1), // what it never is: the kernel wants to see that
				asm.JLE.Imm(asm.R8, room, "fits"+label).WithSymbol("some" + label),
				asm.Mov.Imm(asm.R8, room),
				asm.StoreMem(asm.R9, offLen, asm.R8, asm.Word).WithSymbol("fits" + label),
				asm.Mov.Reg(asm.R1, asm.R6),
				asm.Mov.Reg(asm.R2, asm.R7),
				asm.Mov.Reg(asm.R3, asm.R9),
				asm.Add.Imm(asm.R3, offPayload),
				asm.Mov.Reg(asm.R4, asm.R8),
				asm.FnSkbLoadBytes.Call(),
				asm.JEq.Imm(asm.R0, 0, "loaded"+label),
				asm.StoreImm(asm.R9, offLen, 0, asm.Word),
				asm.Mov.Imm(asm.R0, 0).WithSymbol("loaded" + label),
			},
			submit(ringNoWakeup),
		)
	}
	return join(
		asm.Instructions{asm.JGT.Imm(asm.R8, smallPayload, "large")},
		body(smallPayload, "small"),
		labelled("large", body(largePayload, "large")),
	)
}

// reportAnswer writes the record of what begins an answer of HTTP, and of nothing else.
func (m maps) reportAnswer(d direction) asm.Instructions {
	return join(
		asm.Instructions{
			asm.JLT.Imm(asm.R8, answerStart, pass),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Reg(asm.R2, asm.R7),
			asm.Mov.Reg(asm.R3, asm.R10),
			asm.Add.Imm(asm.R3, atImage),
			asm.Mov.Imm(asm.R4, answerStart),
			asm.FnSkbLoadBytes.Call(),
			asm.JNE.Imm(asm.R0, 0, pass),
			asm.LoadMem(asm.R2, asm.R10, atImage, asm.Word),
			asm.JNE.Imm32(asm.R2, be32([]byte("HTTP")), pass),
		},
		m.reserve(offPayload+answerRoom, "full"), head(d.kind), wire(),
		asm.Instructions{
			asm.StoreMem(asm.R9, offTotal, asm.R8, asm.Word),
			asm.StoreImm(asm.R9, offLen, answerStart, asm.Word),
			asm.LoadMem(asm.R1, asm.R10, atImage, asm.DWord),
			asm.StoreMem(asm.R9, offPayload, asm.R1, asm.DWord),
			asm.LoadMem(asm.R1, asm.R10, atImage+8, asm.Word),
			asm.StoreMem(asm.R9, offPayload+8, asm.R1, asm.Word),
		},
		submit(ringNoWakeup),
	)
}

// wire writes what is known of a packet: R9 is the record.
func wire() asm.Instructions {
	is := asm.Instructions{
		asm.LoadMem(asm.R1, asm.R10, atTCP+4, asm.Word),
		asm.StoreMem(asm.R9, offSeq, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R10, atTTL, asm.Word),
		asm.StoreMem(asm.R9, offTTL, asm.R1, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnSkbCgroupId.Call(),
		asm.StoreMem(asm.R9, offSocketCgroup, asm.R0, asm.DWord),
		asm.LoadMem(asm.R1, asm.R10, atTCP, asm.Word), // both ports
		asm.StoreMem(asm.R9, offPorts, asm.R1, asm.Word),
	}
	for at := int16(0); at < 16; at += 8 {
		is = append(is, asm.LoadMem(asm.R1, asm.R10, atSource+at, asm.DWord), asm.StoreMem(asm.R9, offSource+at, asm.R1, asm.DWord))
	}
	return is
}
