package metadata

import (
	"slices"
	"strings"
)

// About is what the table says of a path, whether or not anything is there for some instance.
type About struct {
	// Doc says what the value means; empty: it is a directory, or the table does not have it.
	Doc string
	// Secret says that a value there is one: credentials, user data.
	Secret bool
}

// Describe says what the table has at a path below the version; any name stands for one that an instance gives.
func Describe(path string) About {
	n, secret := tree, false
	if path == "" {
		return About{}
	}
	for name := range strings.SplitSeq(path, "/") {
		if n.row != nil {
			secret = n.row.Secret // what only an overlay has, below a value
		}
		if n.each != nil {
			n = n.each
		} else if n = n.index[name]; n == nil {
			return About{Secret: secret}
		}
	}
	if n.row == nil {
		return About{Secret: hasSecret(n)} // an overlay may have a value in the place of the directory
	}
	return About{Doc: n.row.Doc, Secret: n.row.Secret}
}

func hasSecret(n *node) bool {
	return n.row != nil && n.row.Secret || n.each != nil && hasSecret(n.each) || slices.ContainsFunc(n.kids, hasSecret)
}

// Children are the names in a directory below the version, by its listing, in its order.
func Children(dir string, listing []byte) []string {
	lines := linesOf(listing)
	names := make([]string, 0, len(lines))
	for _, line := range lines {
		names = append(names, nameOf(dir, line))
	}
	return names
}
