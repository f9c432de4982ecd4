package hostdoor_test

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

//go:generate go test -run ^TestExchangeIsRecorded$ -update .
var update = flag.Bool("update", false, "record what this release's agent says to a replica")

// recordedHere is what this release's agent and replica say to each other. When a release is made, the file stays under
// that release's name beside it, and what it says is answered by the replicas of the next one.
const recordedHere = "testdata/exchange/unreleased.json"

// exchange is what an agent and a replica have said to each other, in its order.
type exchange []step

// step is one thing of an exchange: a request with its answer, or what the operator did; and what the stream told then.
type step struct {
	Operator string `json:"operator,omitempty"` // one of [operations]
	Path     string `json:"path,omitempty"`
	Request  any    `json:"request,omitempty"`
	Status   int    `json:"status,omitempty"`
	Answer   any    `json:"answer,omitempty"`
	Stream   []any  `json:"stream,omitempty"`
	// Varies has the places of the answer and of the stream where each exchange has a value of its own.
	Varies []string `json:"varies,omitempty"`
}

// parse reads JSON with its numbers as they are written.
func parse(t testing.TB, text []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	must(t, d.Decode(&v))
	return v
}

func readExchange(t testing.TB, path string) (x exchange) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	must(t, d.Decode(&x))
	return x
}

func exchanges(t testing.TB) []string {
	t.Helper()
	all, err := filepath.Glob("testdata/exchange/*.json")
	if err != nil || len(all) == 0 {
		t.Fatalf("no exchange is recorded: %v", err)
	}
	return all
}

// values are what each exchange has of its own and is said in several places of it, by name.
type values map[string]string

// leaves calls do for each value of a tree, with its place, and puts what that returns in its place.
func leaves(v any, place string, do func(place string, leaf any) any) any {
	switch v := v.(type) {
	case map[string]any:
		all := make(map[string]any, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			all[name] = leaves(v[name], place+"/"+name, do)
		}
		return all
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = leaves(v[i], place+"/"+strconv.Itoa(i), do)
		}
		return all
	}
	return do(place, v)
}

func isLease(place string) bool { return strings.HasSuffix(place, "/lease") }

// named has the names of values stand for them.
func (of values) named(v any) any {
	return leaves(v, "", func(place string, leaf any) any {
		text, ok := leaf.(string)
		if number, is := leaf.(json.Number); is && isLease(place) {
			text, ok = string(number), true
		}
		if !ok {
			return leaf
		}
		// The longest ones first, as a moment has its day in it.
		for _, name := range slices.SortedFunc(maps.Keys(of), func(a, b string) int { return cmp.Or(len(of[b])-len(of[a]), strings.Compare(a, b)) }) {
			if isLease("/"+strings.Fields(name)[0]) != isLease(place) {
				continue
			}
			if isLease(place) && text == of[name] {
				return "${" + name + "}"
			}
			if !isLease(place) {
				text = strings.ReplaceAll(text, of[name], "${"+name+"}")
			}
		}
		if _, is := leaf.(json.Number); is {
			return leaf
		}
		return text
	})
}

// filled has values stand where their names do.
func (of values) filled(v any) any {
	return leaves(v, "", func(place string, leaf any) any {
		text, ok := leaf.(string)
		if !ok {
			return leaf
		}
		for name, value := range of {
			text = strings.ReplaceAll(text, "${"+name+"}", value)
		}
		if isLease(place) {
			return json.Number(text)
		}
		return text
	})
}

// moment is a time that may be the same in two exchanges, of the same second.
var moment = regexp.MustCompile(`T\d\d:\d\d:\d\d(\.\d+)?Z$`)

// differing are the places where two trees of one form have different values, or have them by chance.
func differing(a, b any) (places []string) {
	others := map[string]any{}
	leaves(b, "", func(place string, leaf any) any { others[place] = leaf; return leaf })
	leaves(a, "", func(place string, leaf any) any {
		text, _ := leaf.(string)
		if others[place] != leaf || moment.MatchString(text) || strings.Contains(place, "/through/") || strings.HasSuffix(place, "/revision") {
			places = append(places, place)
		}
		return leaf
	})
	return places
}

// lacks says what of a recorded answer another one does not have, or has otherwise, where it does not vary. What it has
// besides is of a later release.
func lacks(recorded, got any, place string, varies map[string]bool) error {
	switch recorded := recorded.(type) {
	case map[string]any:
		of, ok := got.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is %v, not an object", place, got)
		}
		for name, member := range recorded {
			if err := lacks(member, of[name], place+"/"+name, varies); err != nil {
				return err
			}
		}
		return nil
	case []any:
		of, ok := got.([]any)
		if !ok || len(of) != len(recorded) {
			return fmt.Errorf("%s is %v, not a list of %d", place, got, len(recorded))
		}
		for i := range recorded {
			if err := lacks(recorded[i], of[i], place+"/"+strconv.Itoa(i), varies); err != nil {
				return err
			}
		}
		return nil
	}
	if varies[place] && fmt.Sprintf("%T", got) == fmt.Sprintf("%T", recorded) {
		return nil
	}
	if got != recorded {
		return fmt.Errorf("%s is %v, and was %v", place, got, recorded)
	}
	return nil
}

// set is a set of places.
func set(places []string) map[string]bool {
	all := map[string]bool{}
	for _, p := range places {
		all[p] = true
	}
	return all
}

// later is a tree as a later release may have it: with members in each of its objects that nobody knows yet.
func later(v any) any {
	switch v := v.(type) {
	case map[string]any:
		all := map[string]any{"ofLater": map[string]any{"x": []any{"y", nil}}}
		for name, member := range v {
			if all[name] = member; name != "through" { // which is by region
				all[name] = later(member)
			}
		}
		return all
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = later(v[i])
		}
		return all
	}
	return v
}

// certified is how a host connects by a certificate that it was given, in PEM within JSON.
func certified(t testing.TB, by *tls.Config, key *ecdsa.PrivateKey, certificate string) *tls.Config {
	t.Helper()
	text, err := base64.StdEncoding.DecodeString(certificate)
	must(t, err)
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("%q is no certificate", text)
	}
	by = by.Clone()
	by.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}, nil
	}
	return by
}
