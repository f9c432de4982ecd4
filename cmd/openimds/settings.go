package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// settle fills the flags that the command line leaves open: from the environment (OPENIMDS_ and the
// flag's name in capitals, dashes as underscores), then from the configuration file (a YAML mapping
// whose keys are the flags' names). So a flag beats the environment, and that beats the file. An
// empty variable is none: many tools can set one to nothing but cannot unset it.
func settle(flags *pflag.FlagSet) error {
	given, err := settleFromEnvironment(flags)
	if err != nil {
		return err
	}
	file, err := flags.GetString("config")
	if err != nil || file == "" {
		return err
	}
	return settleFromFile(flags, file, given)
}

// settleFromEnvironment returns which flags are given now.
func settleFromEnvironment(flags *pflag.FlagSet) (given map[string]bool, err error) {
	given = map[string]bool{}
	flags.Visit(func(f *pflag.Flag) { given[f.Name] = true })
	flags.VisitAll(func(f *pflag.Flag) {
		name := environmentName(f.Name)
		value := os.Getenv(name)
		if err != nil || given[f.Name] || value == "" || f.Name == "help" {
			return
		}
		given[f.Name] = true
		err = set(flags, f, split(f, value), "environment variable "+name)
	})
	return given, err
}

func environmentName(flag string) string {
	return "OPENIMDS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// split makes the values of a repeatable flag out of a list with commas.
func split(f *pflag.Flag, value string) []string {
	if _, repeatable := f.Value.(pflag.SliceValue); !repeatable {
		return []string{value}
	}
	var values []string
	for v := range strings.SplitSeq(value, ",") {
		if v = strings.TrimSpace(v); v != "" {
			values = append(values, v)
		}
	}
	return values
}

func set(flags *pflag.FlagSet, f *pflag.Flag, values []string, where string) error {
	for _, v := range values {
		if err := flags.Set(f.Name, v); err != nil {
			// pflag's text speaks of a flag that nobody typed; its cause says what is wrong.
			if cause := errors.Unwrap(err); cause != nil {
				err = ofType(f, cause)
			}
			return usagef("%s: invalid value %q: %w", where, v, err)
		}
	}
	return nil
}

func settleFromFile(flags *pflag.FlagSet, file string, given map[string]bool) error {
	text, err := readFile(file, maxConfigFile)
	if err != nil {
		return usagef("cannot read the configuration: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		place, what, ok := strings.Cut(strings.TrimPrefix(err.Error(), "yaml: "), ": ")
		if line, numbered := strings.CutPrefix(place, "line "); ok && numbered {
			return usagef("%s:%s: %s", file, line, what)
		}
		return usagef("%s: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) == 0 {
		return nil
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return usagef("%s:%d: expected lines of the form \"flag: value\"", file, top.Line)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		where := fmt.Sprintf("%s:%d: %s", file, key.Line, key.Value)
		f := flags.Lookup(key.Value)
		if f == nil || f.Name == "config" || f.Name == "help" {
			return usagef("%s is not a setting; the names are those of the flags, see 'openimds serve --help'", where)
		}
		if seen[f.Name] {
			return usagef("%s is set twice", where)
		}
		seen[f.Name] = true
		values, err := scalars(f, value)
		if err != nil {
			return usagef("%s: %w", where, err)
		}
		if given[f.Name] {
			continue
		}
		if err := set(flags, f, values, where); err != nil {
			return err
		}
	}
	return nil
}

// scalars returns the values of one key: one, or for a repeatable flag also a list of them.
func scalars(f *pflag.Flag, value *yaml.Node) ([]string, error) {
	if value.Kind == yaml.ScalarNode {
		return []string{value.Value}, nil
	}
	if _, repeatable := f.Value.(pflag.SliceValue); !repeatable || value.Kind != yaml.SequenceNode {
		return nil, errors.New("expected a single value")
	}
	var values []string
	for _, item := range value.Content {
		if item.Kind != yaml.ScalarNode {
			return nil, errors.New("expected a list of single values")
		}
		values = append(values, item.Value)
	}
	return values, nil
}
