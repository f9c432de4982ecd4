package server

import "sync"

// together looks at something for all who ask at once. None is told what was seen before it asked, and there is one look at a
// time: whoever may ask without a key cannot have the store asked more often.
type together struct {
	mu   sync.Mutex
	now  *seen // whose look began last; nil: none has
	next *seen // of those who ask while a look is under way; nil: nobody does
}

// seen is what a look found, when done is closed.
type seen struct {
	done chan struct{}
	what string
}

// ask returns what look finds, or the look of another who asked at the same time.
func (t *together) ask(look func() string) string {
	t.mu.Lock()
	if s := t.next; s != nil {
		t.mu.Unlock()
		<-s.done
		return s.what
	}
	s, before := &seen{done: make(chan struct{})}, t.now
	t.next = s
	t.mu.Unlock()
	defer close(s.done)
	if before != nil {
		<-before.done
	}
	t.mu.Lock()
	t.now, t.next = s, nil // who asks from now on wants to know what is then
	t.mu.Unlock()
	s.what = look()
	return s.what
}
