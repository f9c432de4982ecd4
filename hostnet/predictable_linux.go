package hostnet

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"strings"

	"github.com/dchest/siphash"
)

// On hosts with systemd an address that seems to be set on purpose may only be the name once more: its
// default policy for links (MACAddressPolicy=persistent, systemd.link(5)) gives those with a random address
// one that is hashed from the machine's ID and the link's name. The next machine's link of that name gets
// the same.

// predictableKeys are those of systemd's hash: of udev, and of networkd for the links that it makes.
var predictableKeys = []string{"d31e48fa90fe4b4c9dafd5d7a1b12e8a", "52e145bd006f299621c6306d83710448"}

// machineID is the host's, in the form that systemd hashes it; nil: it has none.
func machineID() []byte {
	text, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return nil
	}
	id, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(id) != 16 {
		return nil
	}
	return id
}

// predictable lists the addresses, six bytes each, that follow from a link's name on a machine.
func predictable(machine []byte, name string) []string {
	if machine == nil {
		return nil
	}
	out := make([]string, len(predictableKeys))
	for i, text := range predictableKeys {
		key, err := hex.DecodeString(text)
		if err != nil {
			panic(err) // it stands above
		}
		sum := siphash.Hash(binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[8:]), append(machine[:16:16], name...))
		mac := binary.LittleEndian.AppendUint64(nil, sum)[:6]
		mac[0] = mac[0]&^1 | 2 // of one station, given locally
		out[i] = string(mac)
	}
	return out
}
