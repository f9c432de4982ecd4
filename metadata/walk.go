package metadata

import "iter"

// request is one question to the tree.
type request struct {
	view    *View
	version int
	// finalLF ends listings with a line feed: the real service does so below dynamic/ only.
	finalLF bool
	scratch []byte // for values of which only the existence matters
}

// spot is a place below the version, as one request sees it.
type spot struct {
	node *node // what the table has here; nil: nothing
	args args
	over layer // what the overlay has here and below; nil: nothing
}

// kind says what stands at a spot.
type kind uint8

const (
	absent kind = iota
	leaf
	directory
)

// child goes down to name; false: neither the table nor the overlay knows it.
func (r *request) child(s spot, name string) (spot, bool) {
	c := spot{args: s.args}
	hidden := false
	if s.over != nil {
		value, here := s.over.here()
		if here && value != nil {
			return c, false // nothing lies below a leaf
		}
		hidden = here
		c.over = s.over.below(name)
	}
	if n := s.node; n != nil && !hidden {
		if n.each != nil {
			if i, ok := n.find(r.view, s.args, name); ok {
				c.node, c.args[n.arg] = n.each, i
			}
		} else {
			c.node = n.index[name]
		}
		if c.node != nil && c.node.since > r.version {
			c.node = nil
		}
	}
	return c, c.node != nil || c.over != nil
}

// item returns what is at s.
func (r *request) item(s spot) (Item, bool) {
	it := Item{ContentType: textPlain, Modified: r.view.Instance.ModifiedAt}
	if s.node != nil && s.node.row != nil && s.node.row.ContentType != "" {
		it.ContentType = s.node.row.ContentType
	}
	if value, here := s.over.here(); here && value != nil {
		it.Body = []byte(*value)
		return it, true
	}
	if row := r.tableLeaf(s); row != nil {
		it.Body = make([]byte, 0, 64)
		return r.value(row, it, s.args)
	}
	it.ContentType, it.Listing = textPlain, true
	it.Body = r.list(s)
	return it, len(it.Body) > 0
}

// tableLeaf returns the row that answers at s, which takes that the overlay leaves the place alone.
func (r *request) tableLeaf(s spot) *row {
	if s.node == nil || s.node.row == nil {
		return nil
	}
	if s.over != nil {
		if _, here := s.over.here(); here || s.over.adds() {
			return nil
		}
	}
	return s.node.row
}

// value makes the item of a row; false: it does not exist.
func (r *request) value(row *row, it Item, a args) (Item, bool) {
	if row.If != nil && !row.If(r.view, a) {
		return it, false
	}
	it = row.Value(it, r.view, a)
	return it, row.If != nil || len(it.Body) > 0
}

// list returns the listing of the directory s: empty if nothing is in it, or if s is a leaf.
func (r *request) list(s spot) []byte {
	b := make([]byte, 0, 512)
	for e := range r.entries(s) {
		k := r.kind(e.spot)
		if k == absent && !r.alwaysListed(e.spot) {
			continue
		}
		if len(b) > 0 {
			b = append(b, '\n')
		}
		switch {
		case k == directory && e.label != "":
			b = append(b, e.label...)
		case k == directory && s.node != tree: // "dynamic" and "meta-data" have no slash
			b = append(append(b, e.name...), '/')
		default:
			b = append(b, e.name...)
		}
	}
	if r.finalLF && len(b) > 0 {
		b = append(b, '\n')
	}
	return b
}

// alwaysListed says whether s is shown although nothing is there.
func (r *request) alwaysListed(s spot) bool {
	row := r.tableLeaf(s)
	return row != nil && row.Listed
}

// kind finds out what stands at s. Listings and answers both go by it, so that they agree.
func (r *request) kind(s spot) kind {
	if s.over != nil {
		if value, here := s.over.here(); here && value != nil {
			return leaf
		}
		if s.over.adds() {
			return directory
		}
	}
	if row := r.tableLeaf(s); row != nil {
		if row.If != nil {
			if row.If(r.view, s.args) {
				return leaf
			}
			return absent
		}
		it, ok := r.value(row, Item{Body: r.scratch[:0]}, s.args)
		r.scratch = it.Body
		if ok {
			return leaf
		}
		return absent
	}
	for e := range r.entries(s) {
		if r.kind(e.spot) != absent {
			return directory
		}
	}
	return absent
}

// entry is a line that a listing may have.
type entry struct {
	spot  spot
	name  string
	label string // stands for the name and its slash, if the entry is a directory; may be empty
}

// entries yields what may lie right below s, in the order of the listing: fixed names sorted, the
// instance's names as their kind is listed, and what only the overlay has sorted among those that are
// sorted, and after others.
func (r *request) entries(s spot) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		n, extra := s.node, []string(nil)
		if s.over != nil {
			value, here := s.over.here()
			if here && value != nil {
				return
			}
			if here {
				n = nil // the overlay has removed what the table has
			}
			extra = s.over.names()
		}
		// added yields what only the overlay has before a name that both may have.
		added := func(before string) bool {
			for len(extra) > 0 && extra[0] < before {
				if !yield(s.added(extra[0])) {
					return false
				}
				extra = extra[1:]
			}
			return true
		}
		if n != nil && n.each != nil && n.each.since <= r.version {
			order := n.keys.order(r.view, s.args)
			for i := range n.keys.count(r.view, s.args) {
				if order != nil {
					i = order[i]
				}
				e, ok := r.keyed(s, i)
				if n.keys.sorted && !added(e.name) || ok && !yield(e) {
					return
				}
				extra = without(extra, e.name)
			}
		}
		if n != nil {
			for _, k := range n.kids {
				if k.since > r.version {
					continue
				}
				if !added(k.name) {
					return
				}
				if len(extra) > 0 && extra[0] == k.name {
					extra = extra[1:]
				} else if k.unlisted {
					continue
				}
				if !yield(entry{name: k.name, spot: spot{k, s.args, s.over.below(k.name)}}) {
					return
				}
			}
		}
		for _, name := range extra {
			if !yield(s.added(name)) {
				return
			}
		}
	}
}

// added is the entry of a name that only the overlay has.
func (s spot) added(name string) entry {
	return entry{name: name, spot: spot{over: s.over.below(name)}}
}

// keyed returns the entry of the i-th name that the instance gives; false: the name cannot be shown,
// or an earlier one is the same.
func (r *request) keyed(s spot, i int) (entry, bool) {
	n := s.node
	name := n.keys.name(r.view, s.args, i)
	if first, ok := n.find(r.view, s.args, name); !ok || first != i {
		return entry{name: name}, false
	}
	e := entry{name: name, spot: spot{node: n.each, args: s.args, over: s.over.below(name)}}
	e.spot.args[n.arg] = i
	if n.keys.label != nil {
		e.label = n.keys.label(r.view, s.args, i)
	}
	return e, true
}
