package lightsail

import (
	"reflect"
	"testing"

	"github.com/openimds/openimds/api/awsjson"
)

// FuzzRequests sends anything through the reading of each request: none ends in a panic, and what is
// refused is told in few words.
func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":[[[[]]]]}`,
		`{"instanceName":"demo","httpTokens":"required","httpPutResponseHopLimit":2}`,
		`{"instanceNames":["a"],"availabilityZone":"b","blueprintId":"c","bundleId":"d","tags":[{"key":"k","value":"v"}]}`,
	} {
		f.Add([]byte(seed))
	}
	var requests []reflect.Type
	for _, act := range table() {
		if act.request != nil {
			requests = append(requests, act.request)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if awsjson.CheckSyntax(body) != nil {
			return
		}
		for _, request := range requests {
			into := reflect.New(request).Interface()
			if awsjson.Decode(body, into) == nil {
				if err := awsjson.Check(into); err != nil && len(err.Error()) > 16<<10 {
					t.Errorf("a text of %d bytes", len(err.Error()))
				}
			}
		}
	})
}
