package hostnet

import (
	"net"
	"testing"
)

// TestPredictable holds the addresses against those that another implementation of the hash computes.
func TestPredictable(t *testing.T) {
	machine := make([]byte, 16)
	for i := range machine {
		machine[i] = byte(i)
	}
	for i, want := range []string{"66:c1:62:92:99:bd", "ae:6a:ed:90:15:89"} {
		if got := net.HardwareAddr(predictable(machine, "tap0")[i]).String(); got != want {
			t.Errorf("tap0 has %s, want %s", got, want)
		}
	}
	if got := predictable(nil, "tap0"); got != nil {
		t.Errorf("without a machine ID: %q", got)
	}
}

// Predictable is the address that systemd gives a link of that name on this machine.
func Predictable(name string) string {
	for _, mac := range predictable(machineID(), name) {
		return net.HardwareAddr(mac).String()
	}
	return ""
}
