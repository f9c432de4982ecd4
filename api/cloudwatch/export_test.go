package cloudwatch

// Operations are those that are built, and whether they may change something, for the tests outside.
func Operations() map[string]bool {
	all := map[string]bool{}
	for name, found := range table() {
		all[name] = found.changes
	}
	return all
}
