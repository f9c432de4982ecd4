package server

// descriptorsFor tells how many connections a test may hold beside a server of its own.
func descriptorsFor(connections int) int { return connections }
