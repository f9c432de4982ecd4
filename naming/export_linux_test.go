package naming

// Follows waits until the kernel tells who calls, and says whether it does.
func (n *Namer) Follows() bool {
	<-n.begun
	return n.Tells()
}

// Tells says whether it tells now.
func (n *Namer) Tells() bool { return n.kernel.Load() }
