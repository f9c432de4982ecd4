// Package yamlfile reads YAML that people write strictly: what is not known, stands twice or cannot be meant is
// refused with its line, in words that name no type of this program.
package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Shape is what may stand behind a key, in the words of an error.
type Shape string

// The shapes. A text may be a number or a time too.
const (
	Text     Shape = "a text"
	Texts    Shape = "a list of texts such as [a, b]"
	Mapping  Shape = "a mapping such as {key: value}"
	Mappings Shape = "a list of mappings"
	Nothing  Shape = "nothing"
)

// Document reads the one document that a text has into a value, and refuses top-level keys that are not known.
// What is the word for a file's content in errors. An empty text leaves the value as it is.
func Document(text []byte, what string, keys map[string]Shape, into any) error {
	if err := document(text, what, keys, into); err != nil {
		// The library's own errors have a heading and a line each.
		first, _, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "yaml: "), "unmarshal errors:")), "\n")
		return errors.New(first)
	}
	return nil
}

func document(text []byte, what string, keys map[string]Shape, into any) error {
	if len(text) > MaxFile {
		return fmt.Errorf("a %s has at most %d bytes", what, MaxFile)
	}
	documents := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	if err := documents.Decode(&doc); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return err
	}
	if err := documents.Decode(&more); err == nil {
		return fmt.Errorf("line %d: there is a second document; a file has one %s", more.Line, what)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil
	}
	if _, err := expand(&doc, mostValues); err != nil {
		return err
	}
	if err := Members(doc.Content[0], keys); err != nil {
		return err
	}
	return doc.Decode(into)
}

const (
	// MaxFile is the most bytes of a file.
	MaxFile = 4 << 20
	// mostValues is how many values a file may have, each as often as it is meant. The library has a bound of its own for
	// aliases, but begins anew with it in each value that is decoded by a function of this program.
	mostValues = 1 << 20
)

// expand counts what a value is with all that its aliases (*name) stand for, and returns how many more there may be.
func expand(node *yaml.Node, room int) (int, error) {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if room--; room < 0 {
		return room, fmt.Errorf("line %d: with what its aliases stand for, the file has more than %d values", node.Line, mostValues)
	}
	var err error
	for _, in := range node.Content {
		if room, err = expand(in, room); err != nil {
			return room, err
		}
	}
	return room, nil
}

// Members refuses a mapping with keys that are not known, that occur twice, or with something behind
// them that cannot be meant. YAML's own errors would name types of this program.
func Members(node *yaml.Node, keys map[string]Shape) error {
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: expected lines of the form \"key: value\"", node.Line)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		want, known := keys[key.Value]
		switch {
		case !known:
			return fmt.Errorf("line %d: %q is not known here; the keys are %s", key.Line, key.Value, strings.Join(slices.Sorted(maps.Keys(keys)), ", "))
		case seen[key.Value]:
			return fmt.Errorf("line %d: %q occurs twice", key.Line, key.Value)
		case !want.fits(value):
			return fmt.Errorf("line %d: behind %q stands %s", key.Line, key.Value, want)
		}
		seen[key.Value] = true
	}
	return nil
}

func (s Shape) fits(node *yaml.Node) bool {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch s {
	case Text:
		return node.Kind == yaml.ScalarNode && node.Tag != "!!null"
	case Texts:
		return node.Kind == yaml.SequenceNode && !slices.ContainsFunc(node.Content, func(n *yaml.Node) bool { return !Text.fits(n) })
	case Mappings:
		return node.Kind == yaml.SequenceNode
	case Mapping:
		return node.Kind == yaml.MappingNode
	}
	return node.Kind == yaml.ScalarNode && node.Tag == "!!null"
}
