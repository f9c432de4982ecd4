package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// near is the first of the words that another one may be meant for; empty: none is near.
func near(word string, words []string) string {
	candidates := &cobra.Command{}
	for _, w := range words {
		candidates.AddCommand(&cobra.Command{Use: w, Run: func(*cobra.Command, []string) {}})
	}
	return nearestOf(candidates, word)
}

// nearestOf is that of the commands below one that a word is nearest to, at most two letters away; empty: none is.
func nearestOf(cmd *cobra.Command, word string) string {
	if word == "" {
		return ""
	}
	for letters := 1; letters <= 2; letters++ {
		cmd.SuggestionsMinimumDistance = letters
		if found := cmd.SuggestionsFor(word); len(found) > 0 {
			return found[0]
		}
	}
	return ""
}

// didYouMean names the command or the flag that an unknown word is near to, if there is one.
func didYouMean(cmd *cobra.Command, word string) string {
	found := nearestOf(cmd, word)
	if cmd.Flags().Lookup(word) != nil {
		found = "--" + word
	}
	if found == "" {
		return ""
	}
	return ", did you mean '" + cmd.CommandPath() + " " + found + "'?"
}

// didYouMeanFlag names the flag that an unknown one is near to, if there is one.
func didYouMeanFlag(cmd *cobra.Command, err error) string {
	unknown := &pflag.NotExistError{}
	if !errors.As(err, &unknown) || len(unknown.GetSpecifiedName()) < 2 {
		return ""
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if found := near(unknown.GetSpecifiedName(), names); found != "" {
		return ", did you mean --" + found + "?"
	}
	return ""
}

// didYouMeanInstance names the instance that one that does not exist is near to, if there is one.
func didYouMeanInstance(cmd *cobra.Command, refused *client.Error) string {
	_, name, ok := strings.Cut(refused.Message, "The Instance does not exist: ")
	if !ok || !refused.NotFound() {
		return ""
	}
	all := instancesOf(cmd)
	if found := near(name, all); found != "" {
		return ", did you mean " + found + "?"
	}
	if len(all) == 0 {
		return ""
	}
	return "; 'openimds instance list' shows those that there are"
}

// namesTime is how long a shell or an error waits for names.
const namesTime = 2 * time.Second

// instancesOf lists the instances of the server that a command's flags name.
func instancesOf(cmd *cobra.Command) []string {
	return namesOf(cmd, wire.GetInstances, wire.GetInstancesRequest{}, func(page wire.GetInstancesResult) []string {
		return idsOf(page.Instances, func(in wire.Instance) string { return in.Name })
	})
}

// namesOf lists what a list of the command's server has. One that does not answer has none to offer: nobody who waits
// for names wants to read errors.
func namesOf[Q wire.Paged[Q], R wire.Page](cmd *cobra.Command, list wire.Target[Q, R], request Q, of func(R) []string) (names []string) {
	ctx, done := context.WithTimeout(context.Background(), namesTime)
	defer done()
	api := serverOf(ctx, cmd)
	if api == nil {
		return nil
	}
	for page, err := range client.Pages(ctx, api, list, request) {
		if err != nil {
			return names
		}
		names = append(names, of(page)...)
	}
	return names
}

// hostsOf are the names of the hosts that the command's server knows, as far as it tells them at once.
func hostsOf(cmd *cobra.Command) (names []string) {
	ctx, done := context.WithTimeout(context.Background(), namesTime)
	defer done()
	api := serverOf(ctx, cmd)
	if api == nil {
		return nil
	}
	if answer, err := client.Call(ctx, api, wire.GetHosts, wire.Nothing{}); err == nil {
		for _, h := range answer.Hosts {
			names = append(names, h.Name)
		}
	}
	return names
}

// serverOf is the command's server; nil: it has none that can be asked.
func serverOf(ctx context.Context, cmd *cobra.Command) *client.Client {
	flag := func(name string) string {
		if f := cmd.Flag(name); f != nil {
			return f.Value.String()
		}
		return ""
	}
	c := clientConfig{
		endpoint: flag("endpoint"), profile: flag("profile"), region: flag("region"), dataDir: flag("data-dir"), ca: flag("api-ca"), output: "json",
	}
	api, err := c.open(ctx)
	if err != nil {
		return nil
	}
	return api
}
