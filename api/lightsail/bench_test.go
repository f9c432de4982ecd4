package lightsail_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store/bolt"
)

// BenchmarkGetInstances lists 10,000 instances of a store on disk, all pages: one round is one list.
func BenchmarkGetInstances(b *testing.B) {
	store, err := bolt.Open(filepath.Join(b.TempDir(), "store.db"))
	if err != nil {
		b.Fatal(err)
	}
	s := newServerOn(b, store)
	const instances = 10_000
	for i := 0; i < instances; i += 20 {
		var names []string
		for j := range 20 {
			names = append(names, fmt.Sprintf("i-%05d", i+j))
		}
		_, err := s.service.CreateInstances(b.Context(), control.InstancesLaunch{
			Names: names, Zone: "us-east-1a", BlueprintID: "debian_12", BundleID: "nano_3_0", UserData: make([]byte, 512),
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		total, token := 0, ""
		for {
			var page struct {
				Instances     []json.RawMessage
				NextPageToken string
			}
			a := s.call("GetInstances", `{"pageToken":"`+token+`"}`)
			if err := json.Unmarshal([]byte(a.body), &page); err != nil {
				b.Fatal(err)
			}
			total += len(page.Instances)
			if token = page.NextPageToken; token == "" {
				break
			}
		}
		if total != instances+1 {
			b.Fatalf("%d instances", total)
		}
	}
}
