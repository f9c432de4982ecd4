package server

// A process has a number of descriptors that its limit allows (RLIMIT_NOFILE), and everything that is
// open takes of it. So that neither side leaves the other without, each has a share.
const (
	leastOwn = 32   // listeners, store, logs, what a start needs
	mostOwn  = 4096 // with thousands of attachments, each of which listens
)

// shareDescriptors divides the descriptors that the limit allows: a quarter is for the program's own
// files and for guests that are answered in one step, a quarter of the rest at most for the control
// API's connections, and what is left for guests' connections that wait.
func shareDescriptors(limit uint64, apiWanted int) (api, guests int) {
	left := int(min(limit, 1<<30))
	left -= max(min(left/4, mostOwn), leastOwn)
	api = max(min(apiWanted, left/4), 2)
	return api, max(left-api, 2)
}
