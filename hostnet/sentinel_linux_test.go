package hostnet

import "testing"

// BenchmarkThere is what it costs each connection that its link is looked at: of lo, which every host has.
func BenchmarkThere(b *testing.B) {
	s, err := watchLink(loopbackIndex)
	if err != nil {
		b.Fatal(err)
	}
	defer s.close()
	if s.fd < 0 {
		b.Skip("needs CAP_NET_RAW")
	}
	b.ReportAllocs()
	for b.Loop() {
		if !s.there() {
			b.Fatal("the link is not there")
		}
	}
}
