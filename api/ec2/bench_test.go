package ec2_test

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/store/bolt"
)

// BenchmarkDescribeInstances reads 10,000 instances, all pages of 1000.
func BenchmarkDescribeInstances(b *testing.B) {
	kept, err := bolt.Open(filepath.Join(b.TempDir(), "store.db"))
	if err != nil {
		b.Fatal(err)
	}
	s := newServerOn(b, kept)
	const instances = 10000
	image := s.image("ubuntu_24_04")
	for range instances / 20 {
		s.must("Action=RunInstances&MinCount=20&MaxCount=20&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=tier&TagSpecification.1.Tag.1.Value=web&ImageId=" + image)
	}
	for _, bb := range []struct{ name, parameters string }{{"all", ""}, {"filtered", "&Filter.1.Name=instance-id&Filter.1.Value.1=i-0000*"}} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				found := 0
				for token := ""; ; {
					a := s.call("Action=DescribeInstances&MaxResults=1000" + bb.parameters + "&NextToken=" + url.QueryEscape(token))
					found += strings.Count(a.body, "<instanceId>")
					_, rest, more := strings.Cut(a.body, "<nextToken>")
					if token, _, _ = strings.Cut(rest, "<"); !more {
						break
					}
				}
				if bb.name == "all" && found != instances+1 {
					b.Fatalf("%d instances", found)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/all-pages")
		})
	}
}

// BenchmarkModifyOptions changes options through each of the two APIs in turns, so that both meet the same disk, and tells
// the median of each.
func BenchmarkModifyOptions(b *testing.B) {
	kept, err := bolt.Open(filepath.Join(b.TempDir(), "store.db"))
	if err != nil {
		b.Fatal(err)
	}
	s := newServerOn(b, kept)
	took := map[string][]time.Duration{}
	for i := 0; b.Loop(); i++ {
		for j, through := range []string{"ec2", "lightsail"} {
			begun := time.Now()
			s.write(options{hops: fmt.Sprint((2*i+j)%64 + 1)}, through)
			took[through] = append(took[through], time.Since(begun))
		}
	}
	for through, all := range took {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "ms/"+through)
	}
}
