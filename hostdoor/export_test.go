package hostdoor

// Paths are those of all requests that a host may make, but for the stream.
func Paths() (all []string) {
	for path := range handlers {
		all = append(all, path)
	}
	return all
}
