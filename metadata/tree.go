package metadata

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/openimds/openimds"
)

// row is one category: what is said of it, and how its value is made.
type row struct {
	Path    string
	Since   string
	Undated bool
	Doc     string
	When    string
	// Value fills in the item, whose body is empty and whose type and time are the usual ones.
	Value func(it Item, v *View, a args) Item
	// If says whether the category exists. Without it, it exists when its value is not empty; with
	// it, an empty value is an answer like others, and Value is called only where If holds.
	If func(v *View, a args) bool
	// ContentType is "text/plain" unless set.
	ContentType string
	// OverRecording says whether the value lies over a recording of the instance: what is announced to
	// it, what that makes it be, and what it was given itself. nil: never.
	OverRecording func(in *openimds.Instance) bool
	// Listed means that the listing shows the category even where it does not exist, as AWS does
	// with user-data.
	Listed bool
	// Secret means that the value is one: who looks at a guest's tree does not see it unasked.
	Secret bool
	// Unlisted means that no listing shows the directory of the category, as with AWS's dynamic/fws.
	Unlisted bool
}

// args are the positions of what fills a path's placeholders: with "{mac}/ipv4-associations/{ip}",
// the index of the interface and of its association.
type args [2]int

// keys are the names that may stand for a placeholder.
type keys struct {
	count func(v *View, a args) int
	// name is the i-th name; one that cannot stand in a path is left out.
	name func(v *View, a args, i int) string
	// label is what the listing shows in place of the name and its slash; nil: just these.
	label func(v *View, a args, i int) string
	// sorted means that the listing has the names in byte order, not as the instance has them.
	sorted bool
}

// order returns the positions of the names as the listing has them; nil: as the instance has them.
func (k *keys) order(v *View, a args) []int {
	if !k.sorted {
		return nil
	}
	order := make([]int, k.count(v, a))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return strings.Compare(k.name(v, a, i), k.name(v, a, j)) })
	return order
}

// node is one place of the compiled table: a leaf, a directory of fixed names, or a directory whose
// names come from the instance. It is not changed once compiled.
type node struct {
	name     string
	row      *row             // nil: a directory
	since    int              // the first version that shows it
	kids     []*node          // in the order of names
	index    map[string]*node // kids by name
	each     *node            // what any of the instance's names leads to
	keys     keys             // of each
	arg      int              // position of each in args
	unlisted bool
}

// compile makes the tree of rows. A table that contradicts itself is a mistake in this program, and
// so ends it at start.
func compile(rows []row, placeholders map[string]keys) *node {
	root := newNode("")
	for i := range rows {
		r := &rows[i]
		n, dir, depth := root, root, 0
		for name := range strings.SplitSeq(r.Path, "/") {
			if n.row != nil {
				panic(fmt.Sprintf("metadata: %s lies below the leaf %s", r.Path, n.row.Path))
			}
			next := n.index[name]
			if next == nil {
				next = newNode(name)
				n.index[name] = next
				n.kids = append(n.kids, next)
			}
			if k, ok := placeholders[name]; ok {
				n.each, n.keys, n.arg = next, k, depth
				depth++
			} else if strings.HasPrefix(name, "{") {
				panic(fmt.Sprintf("metadata: %s has the unknown placeholder %s", r.Path, name))
			}
			n, dir = next, n
		}
		if n.row != nil || len(n.kids) > 0 || depth > len(args{}) {
			panic(fmt.Sprintf("metadata: %s is there twice, is a directory too, or is too deep", r.Path))
		}
		n.row = r
		dir.unlisted = dir.unlisted || r.Unlisted
	}
	root.settle()
	return root
}

func newNode(name string) *node { return &node{name: name, index: map[string]*node{}} }

// settle orders the names below n and finds the first version that shows n.
func (n *node) settle() {
	if n.row != nil {
		n.since = visibleSince(n.row.Since)
		return
	}
	if n.each != nil && len(n.kids) > 1 {
		panic(fmt.Sprintf("metadata: %s stands beside fixed names", n.each.name))
	}
	slices.SortFunc(n.kids, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	n.since = len(versions) - 1
	for _, k := range n.kids {
		k.settle()
		n.since = min(n.since, k.since)
	}
	if n.each != nil {
		n.kids, n.index = nil, nil // the names are the instance's, never "{mac}" itself
	}
}

// find returns the position of name among the names that the instance gives.
func (n *node) find(v *View, a args, name string) (int, bool) {
	for i := range n.keys.count(v, a) {
		if n.keys.name(v, a, i) == name {
			return i, isSegment(name)
		}
	}
	return 0, false
}

// isSegment says whether name can stand in a path and on a line of a listing. Names come from roles,
// tags and the like; one that cannot be asked for is not shown either.
func isSegment(name string) bool {
	if name == "" || name == "." || name == ".." {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c < ' ' || c == '/' || c == 0x7f {
			return false
		}
	}
	return true
}

// placeholders are the names in braces of the table.
var placeholders = map[string]keys{
	"{device}": {
		count: func(v *View, _ args) int { return len(v.Instance.BlockDevices) },
		name:  func(v *View, _ args, i int) string { return v.Instance.BlockDevices[i].Name },
	},
	"{role}": {
		count: func(v *View, a args) int {
			if !hasRole(v, a) {
				return 0
			}
			return 1
		},
		name: func(v *View, _ args, _ int) string { return v.Instance.Role.Name },
	},
	"{user}": {
		count: func(v *View, _ args) int { return len(v.Instance.ManagedKeys) },
		name: func(v *View, _ args, i int) string {
			if k := &v.Instance.ManagedKeys[i]; i == firstActive(v, k.User) {
				return k.User
			}
			return ""
		},
	},
	"{certificate}": {
		count: func(v *View, a args) int {
			if !hasActiveKeys(v, a) {
				return 0
			}
			return 1
		},
		name: func(v *View, _ args, _ int) string {
			name, _, _ := signerOCSP(v)
			return name
		},
	},
	"{mac}": {
		count: func(v *View, _ args) int { return len(v.Instance.NICs) },
		name:  func(v *View, _ args, i int) string { return macName(&v.Instance.NICs[i]) },
	},
	"{public-ip}": {
		count: func(v *View, a args) int { return len(v.Instance.NICs[a[0]].Associations) },
		name: func(v *View, a args, i int) string {
			if public := v.Instance.NICs[a[0]].Associations[i].Public; public.IsValid() {
				return public.String()
			}
			return ""
		},
	},
	"{index}": {
		count: func(v *View, _ args) int { return len(v.Instance.PublicKeys) },
		name:  func(_ *View, _ args, i int) string { return strconv.Itoa(i) },
		label: func(v *View, _ args, i int) string { return keyLabel(i, v.Instance.PublicKeys[i]) },
	},
	"{key}": {
		count: func(v *View, _ args) int {
			if v.Instance.Options.Tags != openimds.EndpointEnabled {
				return 0
			}
			return len(v.Instance.Tags)
		},
		name: func(v *View, _ args, i int) string {
			if key := v.Instance.Tags[i].Key; IsTagKey(key) {
				return key
			}
			return ""
		},
		sorted: true, // as in a recorded listing
	},
}

// macName is an interface's address as paths have it.
func macName(n *openimds.NIC) string { return strings.ToLower(n.MAC) }

// IsTagKey says whether EC2 allows the key where tags are shown in metadata (EC2 user guide, "View
// tags for your EC2 instances using instance metadata").
func IsTagKey(key string) bool {
	if key == "_index" || !isSegment(key) {
		return false
	}
	for i := range len(key) {
		switch c := key[i]; {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case strings.IndexByte("+-=.,_:@", c) >= 0:
		default:
			return false
		}
	}
	return isSegment(key)
}

// keyLabel is how a listing shows a public key. Its name is no part of a path, but must not break
// the line.
func keyLabel(i int, k openimds.PublicKey) string {
	name := strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return '_'
		}
		return c
	}, k.Name)
	return strconv.Itoa(i) + "=" + name
}
