package sandbox

// message is what the caller and the warden tell each other; each has one of the fields.
type message struct {
	// From the warden. Listeners come with their descriptors; Netns is the namespace's inode.
	Listeners *listeners `json:",omitempty"`
	Notes     *notes     `json:",omitempty"` // the network is up, as far as it can be
	Failed    string     `json:",omitempty"`
	Exited    *exit      `json:",omitempty"`
	// From the caller.
	Go     bool `json:",omitempty"`
	Signal int  `json:",omitempty"`
}

type listeners struct {
	Count int
	Netns uint64
}

type notes struct{ Text []string }

// exit is how the command ended.
type exit struct {
	Code   int
	Signal int
}
