package imds

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"unsafe"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// A copy says the same as its original, whatever was copied before, and leaves it alone.
func TestCompactCopiesAreEqual(t *testing.T) {
	c := newCompactor()
	var originals, copies []*openimds.Instance
	for i := range 10_000 { // more than are remembered
		in := decoded(t, func(in *openimds.Instance) {
			in.Name = fmt.Sprintf("web-%d", i)
			in.Tags = []openimds.Tag{{Key: "Name", Value: in.Name}, {Key: "Stage", Value: "test"}}
			in.NICs[0].PrivateIPv4 = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}
			in.UserData = slices.Repeat([]byte{byte(i)}, i%64)
		})
		originals, copies = append(originals, in), append(copies, c.copy(in))
	}
	for i := range copies {
		if !reflect.DeepEqual(copies[i], originals[i]) {
			t.Fatalf("copy %d is\n%+v, want\n%+v", i, copies[i], originals[i])
		}
	}
}

// What two instances have in common is there once; what is an instance's own is not shared.
func TestCompactCopiesShare(t *testing.T) {
	in := decoded(t, func(in *openimds.Instance) { in.UserData = []byte("mine") })
	// What is remembered has one place, by a hash with a seed: another text of the same instance may
	// take it, for a text in a hundred.
	const seeds = 200
	texts, lists := 0, 0
	for range seeds {
		c := newCompactor()
		one, two := c.copy(in), c.copy(decoded(t, func(in *openimds.Instance) { in.UserData = []byte("mine") }))
		if unsafe.StringData(one.Region) == unsafe.StringData(two.Region) {
			texts++
		}
		if &one.BlockDevices[0] == &two.BlockDevices[0] {
			lists++
		}
		if &one.UserData[0] == &two.UserData[0] || &one.NICs[0] == &two.NICs[0] {
			t.Fatal("user data or interfaces are shared")
		}
		if cap(one.UserData) > len(one.UserData) || cap(one.Tags) > len(one.Tags) {
			t.Fatal("a list has room to grow")
		}
	}
	if texts < seeds*9/10 || lists < seeds*9/10 {
		t.Errorf("with %d seeds equal texts are shared %d times, equal lists %d times", seeds, texts, lists)
	}
}

// decoded is an instance as a record's decoder makes it.
func decoded(t *testing.T, change func(*openimds.Instance)) *openimds.Instance {
	t.Helper()
	in := *fixedInstance()
	in.NICs = slices.Clone(in.NICs)
	change(&in)
	value, err := records.EncodeInstance(&in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := records.DecodeInstance(store.Record{Key: records.InstancePrefix + in.Name, Value: value})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
