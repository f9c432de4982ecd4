package imds

import (
	"hash/maphash"
	"reflect"
	"sync"

	"github.com/openimds/openimds"
)

// compactor makes copies of instances that take less memory than a decoder's: without room to grow,
// and with what many instances have in common stored once. It remembers what it saw lately, so that
// its own size does not depend on how many instances there are, nor on what is in them.
type compactor struct {
	mu    sync.Mutex
	seed  maphash.Seed
	texts [4096]string
	lists [4096]reflect.Value
}

func newCompactor() *compactor { return &compactor{seed: maphash.MakeSeed()} }

// copy copies an instance. The copy shares parts with others, so it must never be changed.
func (c *compactor) copy(in *openimds.Instance) *openimds.Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := *in
	c.compact(reflect.ValueOf(&out).Elem())
	return &out
}

// sharedText is the most bytes of a text that is worth looking up: longer ones are an instance's own.
const sharedText = 64

func (c *compactor) compact(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if text := v.String(); text != "" && len(text) <= sharedText {
			v.SetString(c.text(text))
		}
	case reflect.Slice:
		if v.Len() > 0 {
			v.Set(c.list(v))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() { // addresses and times have nothing to set
				c.compact(f)
			}
		}
	}
}

func (c *compactor) text(text string) string {
	slot := &c.texts[maphash.String(c.seed, text)%uint64(len(c.texts))]
	if *slot != text {
		*slot = text
	}
	return *slot
}

// list copies a slice to its exact size, unless an equal one is remembered.
func (c *compactor) list(v reflect.Value) reflect.Value {
	exact := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
	reflect.Copy(exact, v)
	elem := v.Type().Elem()
	if elem.Kind() == reflect.Uint8 { // user data and keys are an instance's own
		return exact
	}
	for i := range exact.Len() {
		c.compact(exact.Index(i))
	}
	if !elem.Comparable() {
		return exact
	}
	var hash maphash.Hash
	hash.SetSeed(c.seed)
	for i := range exact.Len() {
		maphash.WriteComparable(&hash, exact.Index(i).Interface())
	}
	slot := &c.lists[hash.Sum64()%uint64(len(c.lists))]
	if !slot.IsValid() || !equal(*slot, exact) {
		*slot = exact
	}
	return *slot
}

func equal(a, b reflect.Value) bool {
	if a.Type() != b.Type() || a.Len() != b.Len() {
		return false
	}
	for i := range a.Len() {
		if !a.Index(i).Equal(b.Index(i)) {
			return false
		}
	}
	return true
}
