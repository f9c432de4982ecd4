// Package fleet makes many instances of a realistic shape: three tags, a key, one interface, 512
// bytes of user data. They differ from each other in all that real instances differ in.
package fleet

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// Name is the name of instance i; names are in the order of their numbers.
func Name(i int) string { return fmt.Sprintf("web-%07d", i) }

// Maker makes instances. Copies of one are far quicker to make than new ones.
type Maker struct{ model *openimds.Instance }

// NewMaker makes the model of all instances.
func NewMaker() Maker {
	return Maker{openimds.NewInstance(openimds.Launch{Region: "us-east-1"}, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))}
}

// Record makes the stored form of instance i under a name.
func (m Maker) Record(i int, name string) (store.Record, error) {
	random := rand.New(rand.NewPCG(uint64(i), 0))
	id := func(prefix string) string {
		var b [16]byte
		binary.LittleEndian.PutUint64(b[:], random.Uint64())
		binary.LittleEndian.PutUint64(b[8:], random.Uint64())
		return prefix + hex.EncodeToString(b[:])[:17]
	}
	letters := func(n int) []byte {
		text := make([]byte, n)
		for i := range text {
			text[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[random.IntN(64)]
		}
		return text
	}
	in := *m.model
	in.Name, in.ID, in.ReservationID = name, id("i-"), id("r-")
	in.UUID = openimds.NewUUID()
	in.TokenKey = openimds.NewTokenKey()
	in.LaunchedAt = in.LaunchedAt.Add(time.Duration(i%86400) * time.Second)
	in.UserData = letters(512)
	in.Tags = []openimds.Tag{
		{Key: "Name", Value: name},
		{Key: "Stage", Value: "production"},
		{Key: "Team", Value: fmt.Sprintf("team-%02d", i%50)},
	}
	in.PublicKeys = []openimds.PublicKey{{Name: "deploy", Key: "ssh-ed25519 " + string(letters(68)) + " deploy"}}
	in.NICs = slices.Clone(in.NICs)
	nic := &in.NICs[0]
	nic.ID = id("eni-")
	nic.MAC = fmt.Sprintf("06:%02x:%02x:%02x:%02x:%02x", byte(i>>24), byte(i>>16), byte(i>>8), byte(i), byte(i>>4))
	nic.PrivateIPv4 = []netip.Addr{netip.AddrFrom4([4]byte{172, 26, byte(i >> 8), byte(i)})}
	nic.LocalHostname = openimds.PrivateHostname(nic.PrivateIPv4[0], in.Region)
	openimds.SetPublicIPv4(nic, openimds.NewPublicIPv4(), in.Region)
	nic.IPv6 = []netip.Addr{openimds.NewIPv6(nic.SubnetIPv6CIDRs[0])}
	value, err := records.EncodeInstance(&in)
	return store.Record{Key: records.InstancePrefix + name, Value: value, Revision: 1}, err
}
