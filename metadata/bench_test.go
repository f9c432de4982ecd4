package metadata_test

import (
	"strings"
	"testing"

	"github.com/openimds/openimds/metadata"
)

func BenchmarkGet(b *testing.B) {
	v := fixtureNamed(b, "full")
	v.Instance.UserData = make([]byte, 512)
	for _, path := range []string{
		"latest/meta-data/ami-id",
		"latest/meta-data/placement/availability-zone",
		"latest/meta-data/network/interfaces/macs/06:01:02:03:04:05/local-ipv4s",
		"latest/meta-data/iam/security-credentials/AmazonLightsailInstanceRole",
		"latest/dynamic/instance-identity/document",
		"latest/user-data",
		"latest/meta-data",
		"latest/meta-data/network/interfaces/macs/06:01:02:03:04:05",
		"latest/meta-data/nothing",
	} {
		b.Run(strings.ReplaceAll(path, "/", "|"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				metadata.Get(v, path)
			}
		})
	}
	value := "x"
	v.Instance.Overlay = map[string]*string{"meta-data/ami-id": &value, "meta-data/iam": nil, "user-data": &value}
	for _, path := range []string{"latest/meta-data/ami-id", "latest/meta-data/instance-id", "latest/meta-data"} {
		b.Run("overlay|"+strings.ReplaceAll(path, "/", "|"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				metadata.Get(v, path)
			}
		})
	}
}
