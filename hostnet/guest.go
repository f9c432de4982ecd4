package hostnet

import "net/netip"

// GuestLink is a network interface of a guest, as far as the host can see it.
type GuestLink struct {
	MAC string // empty: it is not known
	// Addresses are its own, the primary one of each family first, with the length of their subnet's prefix; a whole
	// address where that is not known.
	Addresses []netip.Prefix
}
