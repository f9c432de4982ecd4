package sandbox

// message is what the caller and the warden tell each other; each has one of the fields.
type message struct {
	// From the warden.
	Made   *made  `json:",omitempty"` // the namespace; its listeners come along
	Notes  *notes `json:",omitempty"` // the network is up, as far as it can be
	Failed string `json:",omitempty"`
	// NotRun says that what failed is the command itself: the system does not execute it.
	NotRun bool  `json:",omitempty"`
	Exited *exit `json:",omitempty"`
	// From the caller.
	Go     bool `json:",omitempty"`
	Signal int  `json:",omitempty"`
}

type made struct {
	Netns uint64 // the namespace's inode
}

type notes struct{ Text []string }

// exit is how the command ended.
type exit struct {
	Code   int
	Signal int
}
