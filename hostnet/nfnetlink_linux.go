package hostnet

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What the library for nftables does not do: to read no more than is needed of what others may have made
// as large as they like, and to ask whether anything has changed at all.

// openNetfilter opens a socket to nftables in the thread's namespace, on which nothing waits for ever.
func openNetfilter() (*nl.NetlinkSocket, error) {
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	wait := unix.Timeval{Sec: 5}
	if err := errors.Join(socket.SetSendTimeout(&wait), socket.SetReceiveTimeout(&wait)); err != nil {
		socket.Close()
		return nil, err
	}
	return socket, nil
}

// query asks nftables in the thread's namespace and hands each message of the answer on, until that says
// no. The answer ends there: a table in a guest's namespace may have any number of rules, and to read
// them all takes the square of the time.
func query(kind uint16, flags int, family nftables.TableFamily, each func(attrs []byte) bool, attrs ...*nl.RtAttr) error {
	socket, err := openNetfilter()
	if err != nil {
		return err
	}
	defer socket.Close()
	request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|int(kind), flags)
	request.AddData(&nl.Nfgenmsg{NfgenFamily: uint8(family), Version: nl.NFNETLINK_V0})
	for _, a := range attrs {
		request.AddData(a)
	}
	if err := socket.Send(request); err != nil {
		return err
	}
	for {
		messages, _, err := socket.Receive()
		if err != nil {
			return err
		}
		for _, m := range messages {
			switch {
			case m.Header.Seq != request.Seq:
				continue
			case m.Header.Type == unix.NLMSG_DONE:
				return nil
			case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
				if errno := int32(binary.NativeEndian.Uint32(m.Data)); errno != 0 {
					return unix.Errno(-errno)
				}
				return nil
			case len(m.Data) < nl.SizeofNfgenmsg:
				return errors.New("nftables: a message is too short")
			}
			if !each(m.Data[nl.SizeofNfgenmsg:]) || m.Header.Flags&unix.NLM_F_MULTI == 0 {
				return nil
			}
		}
	}
}

func named(attribute int, name string) *nl.RtAttr {
	return nl.NewRtAttr(attribute, nl.ZeroTerminated(name))
}

// generation is a number that changes with every change of any table in the thread's namespace.
func generation() (uint32, error) {
	var gen uint32
	err := query(unix.NFT_MSG_GETGEN, 0, 0, func(attrs []byte) bool {
		if id := attribute(attrs, unix.NFTA_GEN_ID); len(id) == 4 {
			gen = binary.BigEndian.Uint32(id)
		}
		return true
	})
	if err != nil {
		return 0, fmt.Errorf("nftables: %w%s", err, hint(err))
	}
	return gen, nil
}

// attributes are those of a message, or of one that holds others.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	const flags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			length, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
			if length < unix.SizeofNlAttr || length > len(b) || !yield(kind&^flags, b[unix.SizeofNlAttr:length:length]) {
				return
			}
			b = b[min((length+3)&^3, len(b)):]
		}
	}
}

// attribute finds one, by the kinds on the way to it.
func attribute(b []byte, kinds ...uint16) []byte {
	for _, kind := range kinds {
		var found []byte
		for has, data := range attributes(b) {
			if has == kind {
				found = data
				break
			}
		}
		b = found
	}
	return b
}

const elementKeyEnd = 10 // NFTA_SET_ELEM_KEY_END, linux/netfilter/nf_tables.h

// elementsOf reads a set of a table. A set that is not there has none.
func elementsOf(t *nftables.Table, set string) ([]element, error) {
	var out []element
	err := query(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, t.Family, func(attrs []byte) bool {
		for _, e := range attributes(attribute(attrs, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			out = append(out, element{
				family: t.Family, set: set,
				key:   string(attribute(e, unix.NFTA_SET_ELEM_KEY, unix.NFTA_DATA_VALUE)),
				end:   string(attribute(e, elementKeyEnd, unix.NFTA_DATA_VALUE)),
				value: string(attribute(e, unix.NFTA_SET_ELEM_DATA, unix.NFTA_DATA_VALUE)),
			})
		}
		return true
	}, named(unix.NFTA_SET_ELEM_LIST_TABLE, t.Name), named(unix.NFTA_SET_ELEM_LIST_SET, set))
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("set %s of table %s of nftables: %w%s", set, t.Name, err, hint(err))
	}
	return out, nil
}

// imprint is a table as it is: its flags, its chains and rules, and the elements of the sets that are a
// part of the rules. Other elements come and go.
type imprint [sha256.Size]byte

// Bounds of what is read for an imprint. Tables of this package have less; one with more is not what was
// put there.
const (
	rulesRead    = 100
	chainsRead   = 10000 // they come with those of other tables
	elementsRead = 300
)

// imprintOf reads a table of the thread's namespace. A table that is not there has no imprint.
func imprintOf(t *nftables.Table, sets ...string) (imprint, error) {
	sum := sha256.New()
	take := func(limit int) func([]byte) bool {
		return func(attrs []byte) bool {
			_, _ = sum.Write(attrs)
			limit--
			return limit > 0
		}
	}
	err := query(unix.NFT_MSG_GETTABLE, 0, t.Family, take(1), named(unix.NFTA_TABLE_NAME, t.Name))
	if err == nil {
		all := take(chainsRead)
		err = query(unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP, t.Family, func(attrs []byte) bool {
			if string(attribute(attrs, unix.NFTA_CHAIN_TABLE)) != t.Name+"\x00" {
				return true
			}
			return all(attrs)
		})
	}
	if err == nil {
		err = query(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, t.Family, take(rulesRead), named(unix.NFTA_RULE_TABLE, t.Name))
	}
	for _, set := range sets {
		if err == nil {
			err = query(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, t.Family, take(elementsRead),
				named(unix.NFTA_SET_ELEM_LIST_TABLE, t.Name), named(unix.NFTA_SET_ELEM_LIST_SET, set))
		}
	}
	if errors.Is(err, unix.ENOENT) {
		return imprint{}, nil
	}
	if err != nil {
		return imprint{}, fmt.Errorf("table %s of nftables: %w%s", t.Name, err, hint(err))
	}
	return imprint(sum.Sum(nil)), nil
}
