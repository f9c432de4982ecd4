package naming

// Follows waits until the kernel tells who calls, and says whether it does.
func (n *Namer) Follows() bool {
	<-n.begun
	return n.kernel.Load()
}
