package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// selection is which instances a command is for beside naming them: all, or those that have tags.
type selection struct {
	all  bool
	tags []string
}

func (s *selection) add(f *pflag.FlagSet) {
	f.BoolVar(&s.all, "all", false, "every instance")
	f.StringArrayVar(&s.tags, "tag", nil, "every instance with the tag `key=value`, or with the key whatever its value; repeatable: those that have all")
}

// given says that flags select, and not names.
func (s *selection) given() bool { return s.all || len(s.tags) > 0 }

// check refuses to select in two ways, and not to select where something has to be.
func (s *selection) check(cmd *cobra.Command, args []string, optional bool) error {
	switch {
	case len(args) > 0 && s.given():
		return usagef("name instances, or select them by --all or --tag; not both")
	case s.all && len(s.tags) > 0:
		return usagef("--all and --tag exclude each other")
	case len(args) == 0 && !s.given() && !optional:
		return usagef("%s takes at least one name, --all or --tag; see '%s --help'", cmd.CommandPath(), cmd.CommandPath())
	}
	for _, tag := range s.tags {
		if key, _, _ := strings.Cut(tag, "="); key == "" {
			return usagef("--tag %q is not of the form key=value or key", tag)
		}
	}
	return nil
}

// of returns the names of what is selected, each once.
func (s *selection) of(ctx context.Context, api *client.Client, args []string) ([]string, error) {
	if !s.given() {
		var once []string
		for _, name := range args {
			if !slices.Contains(once, name) {
				once = append(once, name)
			}
		}
		return once, nil
	}
	found := []string{}
	for page, err := range client.Pages(ctx, api, wire.GetInstances, wire.GetInstancesRequest{}) {
		if err != nil {
			return nil, err
		}
		for _, in := range page.Instances {
			if s.has(in.Tags) {
				found = append(found, in.Name)
			}
		}
	}
	if len(found) == 0 && len(s.tags) > 0 {
		return nil, fmt.Errorf("no instance has --tag %s", strings.Join(s.tags, " --tag "))
	}
	return found, nil
}

// has says whether tags are all those that are asked for.
func (s *selection) has(tags []wire.Tag) bool {
	for _, wanted := range s.tags {
		key, value, exactly := strings.Cut(wanted, "=")
		if !slices.ContainsFunc(tags, func(t wire.Tag) bool { return t.Key == key && (!exactly || t.Value == value) }) {
			return false
		}
	}
	return true
}

// callersOf are the callers of what is selected.
type callersOf struct {
	cmd      *cobra.Command
	selected *selection
	args     []string
	failed   error // of some of several instances: what is read is of the others
}

// pages reads them, page by page.
func (c *callersOf) pages(ctx context.Context, api *client.Client, request wire.GetCallersRequest) iter.Seq2[wire.GetCallersResult, error] {
	if len(c.args) == 0 && !c.selected.given() {
		return client.Pages(ctx, api, wire.GetCallers, request) // without a name it is of all
	}
	return func(yield func(wire.GetCallersResult, error) bool) {
		names, err := c.selected.of(ctx, api, c.args)
		if err != nil {
			yield(wire.GetCallersResult{}, err)
			return
		}
		read, more := false, true
		c.failed = forEach(c.cmd, names, func(name string) error {
			request.InstanceName = name
			for page, err := range client.Pages(ctx, api, wire.GetCallers, request) {
				if err != nil || !more {
					return err
				}
				read, more = true, yield(page, nil)
			}
			return nil
		})
		if !read && c.failed != nil {
			yield(wire.GetCallersResult{}, c.failed)
		}
	}
}

// forEach does something for each of the instances named, whatever becomes of the others, and ends with an error if
// something failed. A server that does not answer is not asked again and again.
func forEach(cmd *cobra.Command, names []string, do func(name string) error) error {
	failed := 0
	for _, name := range names {
		err := do(name)
		if err == nil {
			continue
		}
		lost := &client.Unreachable{}
		if err = fmt.Errorf("%s: %w", name, err); len(names) == 1 || errors.As(err, &lost) || cmd.Context().Err() != nil {
			return err
		}
		failed++
		if err := say(cmd.ErrOrStderr(), "openimds: %v\n", advised(cmd, err)); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s failed", failed, counted(len(names), "instance"))
	}
	return nil
}
