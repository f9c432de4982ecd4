package hostnet

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// forwardTo adds a rule that ends with handing the packet to the interface whose index is in the
// accumulator. The library does not know how to say that.
func forwardTo(t *nftables.Table, chain, comment string, r rule) error {
	var expressions []byte
	element := func(b []byte) {
		expressions = append(expressions, nl.NewRtAttr(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, b).Serialize()...)
	}
	for _, e := range r {
		b, err := expr.Marshal(byte(t.Family), e)
		if err != nil {
			return err
		}
		element(b)
	}
	const sourceRegister = 1 // NFTA_FWD_SREG_DEV
	fwd := nl.NewRtAttr(unix.NLA_F_NESTED|unix.NFTA_EXPR_DATA, nl.NewRtAttr(sourceRegister, binary.BigEndian.AppendUint32(nil, acc)).Serialize())
	element(append(nl.NewRtAttr(unix.NFTA_EXPR_NAME, nl.ZeroTerminated("fwd")).Serialize(), fwd.Serialize()...))

	message := func(kind, flags int, family uint8, resource uint16, attributes ...*nl.RtAttr) *nl.NetlinkRequest {
		m := nl.NewNetlinkRequest(kind, flags)
		m.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0, ResId: resource})
		for _, a := range attributes {
			m.AddData(a)
		}
		return m
	}
	resource := binary.NativeEndian.Uint16(port(unix.NFNL_SUBSYS_NFTABLES))
	add := message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND|unix.NLM_F_ACK, uint8(t.Family), 0,
		nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated(t.Name)),
		nl.NewRtAttr(unix.NFTA_RULE_CHAIN, nl.ZeroTerminated(chain)),
		nl.NewRtAttr(unix.NLA_F_NESTED|unix.NFTA_RULE_EXPRESSIONS, expressions),
		nl.NewRtAttr(unix.NFTA_RULE_USERDATA, userdata.AppendString(nil, userdata.TypeComment, comment)))
	batch := message(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, resource).Serialize()
	batch = append(batch, add.Serialize()...)
	batch = append(batch, message(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, resource).Serialize()...)
	return transact(batch, add.Seq)
}

// transact sends a batch, and waits for what is said of the message with a sequence number.
func transact(batch []byte, seq uint32) error {
	socket, err := openNetfilter()
	if err != nil {
		return err
	}
	defer socket.Close()
	if err := unix.Sendto(socket.GetFd(), batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for {
		messages, _, err := socket.Receive()
		if err != nil {
			return err
		}
		for _, m := range messages {
			if m.Header.Type != unix.NLMSG_ERROR || len(m.Data) < 4 {
				continue
			}
			if errno := int32(binary.NativeEndian.Uint32(m.Data)); errno != 0 {
				return unix.Errno(-errno)
			}
			if m.Header.Seq == seq {
				return nil
			}
		}
	}
}
