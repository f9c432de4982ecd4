package naming

import "time"

// Patience is how long tests wait for what takes milliseconds on a machine that is not busy.
const Patience = 3 * time.Minute

// NewPatient is [New] for a machine that is busy: no call stays without a name because something took long.
func NewPatient() *Namer {
	n := New(nil)
	n.open.patience = patience{listener: Patience, near: Patience, heard: Patience}
	return n
}

// Follows waits until the kernel tells who calls, and says whether it does.
func (n *Namer) Follows() bool {
	<-n.begun
	return n.Tells()
}

// Tells says whether it tells now.
func (n *Namer) Tells() bool { return n.kernel.Load() }
