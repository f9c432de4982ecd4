package yamlfile_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/openimds/openimds/yamlfile"
	"go.yaml.in/yaml/v3"
)

// waves is a file whose parts are decoded by a function of their own, as plans and timelines are.
type waves struct {
	Names []string `yaml:"names"`
	Waves []wave   `yaml:"waves"`
}

type wave struct {
	Names []string `yaml:"names"`
}

func (w *wave) UnmarshalYAML(node *yaml.Node) error {
	type plain wave
	if err := yamlfile.Members(node, map[string]yamlfile.Shape{"names": yamlfile.Texts}); err != nil {
		return err
	}
	return node.Decode((*plain)(w))
}

var keys = map[string]yamlfile.Shape{"names": yamlfile.Texts, "waves": yamlfile.Mappings}

// TestAliases: an alias may stand for what was written before, but a small file is nothing large, nor without end. What
// the first of these means are 90 million names.
func TestAliases(t *testing.T) {
	var f waves
	if err := yamlfile.Document([]byte("names: &all [a, b]\nwaves: [{names: *all}, {names: [c]}]\n"), "file", keys, &f); err != nil || len(f.Waves) != 2 || len(f.Waves[0].Names) != 2 {
		t.Errorf("%+v, %v", f, err)
	}
	for name, text := range map[string]string{
		"many names, many times":  "names: &all [" + strings.Repeat("a,", 900) + "]\nwaves: [" + strings.Repeat("{names: *all},", 100_000) + "]\n",
		"lists of lists of lists": "names: &a [a,a,a,a,a,a,a,a,a,a]\nwaves: [" + strings.Repeat("&b [*a,*a,*a,*a,*a,*a,*a,*a,*a],", 1) + strings.Repeat("[&c [*b,*b,*b,*b],[*c,*c,*c,*c]],", 10_000) + "]\n",
		"a list in itself":        "names: &a [*a]\n",
		"a mapping in itself":     "waves: &a [{names: *a}]\n",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := yamlfile.Document([]byte(text), "file", keys, new(waves))
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 500<<20 {
			t.Errorf("%s: a file of %d bytes took %d", name, len(text), grown)
		}
		if err == nil || !strings.Contains(err.Error(), "aliases") && !strings.Contains(err.Error(), "itself") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := yamlfile.Document([]byte(strings.Repeat("#\n", yamlfile.MaxFile)), "plan", keys, new(waves)); err == nil || err.Error() != "a plan has at most 4194304 bytes" {
		t.Error(err)
	}
}
