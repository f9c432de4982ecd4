package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
)

// choices are the words that a flag of that name takes.
var choices = map[string][]string{
	"output": {"table", "json"}, "http-tokens": {"optional", "required"}, "http-endpoint": {"enabled", "disabled"},
	"ipv6": {"enabled", "disabled"}, "network": {"auto", "pasta", "slirp4netns", "none"}, "on": {"all", "token", "data"},
	"form": {"signature", "pkcs7", "rsa2048"}, "log-format": {"text", "json"}, "log-level": {"debug", "info", "warn", "error"},
}

// addCompletion has a shell complete what commands take: words of flags, and the names of instances.
func addCompletion(cmd *cobra.Command) {
	for name, words := range choices {
		if cmd.Flags().Lookup(name) != nil || cmd.PersistentFlags().Lookup(name) != nil {
			_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // no two are registered
		}
	}
	if _, arguments, _ := strings.Cut(cmd.Use, " "); cmd.Name() != "create" && (strings.HasPrefix(arguments, "NAME") || arguments == "[NAME]") {
		cmd.ValidArgsFunction = completeInstances
	}
	for _, sub := range cmd.Commands() {
		addCompletion(sub)
	}
}

// completionTime is how long a shell waits for names.
const completionTime = 2 * time.Second

// completeInstances lists the server's instances. A server that does not answer has none to offer: a shell shows
// no errors.
func completeInstances(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	ctx, done := context.WithTimeout(context.Background(), completionTime)
	defer done()
	flag := func(name string) string { return cmd.Flag(name).Value.String() }
	c := clientConfig{
		endpoint: flag("endpoint"), profile: flag("profile"), region: flag("region"), dataDir: flag("data-dir"), ca: flag("api-ca"), output: "json",
	}
	api, err := c.open(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for page, err := range client.Pages(ctx, api, wire.GetInstances, wire.PageRequest{}) {
		if err != nil {
			break
		}
		for _, in := range page.Instances {
			if strings.HasPrefix(in.Name, begun) && !slices.Contains(args, in.Name) {
				names = append(names, in.Name)
			}
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// didYouMean names the command that an unknown word is near to, if there is one.
func didYouMean(cmd *cobra.Command, word string) string {
	cmd.SuggestionsMinimumDistance = 2 // letters
	near := cmd.SuggestionsFor(word)
	if len(near) == 0 {
		return ""
	}
	return ", did you mean '" + cmd.CommandPath() + " " + near[0] + "'?"
}
