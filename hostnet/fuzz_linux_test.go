package hostnet

import (
	"slices"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ruleWith is a rule as the kernel tells of it.
func ruleWith(data []byte) []byte { return nl.NewRtAttr(unix.NFTA_RULE_USERDATA, data).Serialize() }

// FuzzForeignRule reads rules and sets whose bytes somebody else may have chosen: nothing is read beyond
// their end, and what this package writes itself it reads again.
func FuzzForeignRule(f *testing.F) {
	for _, comment := range []string{claimText("net:[4026531840]", true), claimText("net:[1]", false), "", servedFrom} {
		f.Add(ruleWith(userdata.AppendString(nil, userdata.TypeComment, comment)))
	}
	for _, data := range [][]byte{{0}, {0, 255}, {0, 255, 'a'}, {1, 2, 3}, {7, 0, 0, 1, 0}, {1, 1, 0, 0, 200, 'x'}} {
		f.Add(ruleWith(data))
	}
	f.Add([]byte{3, 0, 7, 0})
	f.Add([]byte{255, 255, 7, 128, 1})
	f.Fuzz(func(t *testing.T, rule []byte) {
		alone := slices.Clip(slices.Clone(rule))
		comment := commentOf(alone)
		// The same in the middle of a buffer, as messages are read: what stands behind is not theirs.
		buffer := append(slices.Clone(rule), "openimds openimds openimds"...)
		if got := commentOf(buffer[:len(rule)]); got != comment {
			t.Errorf("%q becomes %q when something stands behind it", comment, got)
		}
		total := 0
		for _, data := range attributes(alone) {
			if total += unix.SizeofNlAttr + len(data); total > len(rule) {
				t.Fatalf("attributes of %d bytes in %d", total, len(rule))
			}
		}
		attribute(alone, unix.NFTA_SET_ELEM_LIST_ELEMENTS, 1, unix.NFTA_SET_ELEM_KEY, unix.NFTA_DATA_VALUE)
		if len(comment) < 200 {
			if got := commentOf(ruleWith(userdata.AppendString(nil, userdata.TypeComment, comment))); got != comment {
				t.Errorf("%q is read as %q", comment, got)
			}
		}
	})
}

// FuzzLedger lets attachments come, change and go in any order: what the tables hold in the end is what
// is wanted, and no element is added twice or taken from where it is not.
func FuzzLedger(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 128, 1, 2, 3})
	f.Add([]byte{1, 1, 255, 1, 7, 7, 8, 129})
	f.Fuzz(func(t *testing.T, steps []byte) {
		l := newLedger()
		wishes := map[byte][]element{}
		table := map[element]element{}
		apply := func() {
			changes := l.changes(func(element) bool { return true })
			for _, c := range changes {
				if c.del != nil {
					if table[c.del.slot()] != *c.del {
						t.Fatalf("%+v is taken from where it is not", *c.del)
					}
					delete(table, c.del.slot())
				}
				if c.add != nil {
					if _, ok := table[c.add.slot()]; ok {
						t.Fatalf("%+v is added to a slot that is taken", *c.add)
					}
					table[c.add.slot()] = *c.add
				}
			}
			l.done(changes)
		}
		for i := 0; i+1 < len(steps) && i < 200; i += 2 {
			who, what := steps[i]%4, steps[i+1]
			var next []element
			for slot := range what % 4 {
				next = append(next, element{
					family: nftables.TableFamilyBridge, set: interfaces, key: string(rune('a' + (slot+what/4)%8)), value: string(rune('A' + who)),
				})
			}
			l.change(wishes[who], next)
			wishes[who] = next
			if steps[i] >= 128 {
				apply()
			}
		}
		for who := range wishes {
			l.change(wishes[who], nil)
		}
		apply()
		if len(table) != 0 || len(l.refs) != 0 || len(l.wanted) != 0 || len(l.there) != 0 {
			t.Errorf("left are %v in the table, %v wanted", table, l.wanted)
		}
	})
}
