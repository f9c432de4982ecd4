package main

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/server"
	"github.com/spf13/cobra"
)

// choices are the words that a flag of that name takes, or that of one command, whose path stands before it.
func choices() map[string][]string {
	tokens, switches := wire.HTTPTokens.Values(""), wire.HTTPEndpoint.Values("")
	return map[string][]string{
		"output": {"table", "json"}, "log-format": {"text", "json"}, "log-level": {"debug", "info", "warn", "error"},
		"http-tokens": tokens, "http-endpoint": switches, "ipv6": switches,
		"defaults http-tokens": wire.DefaultTokens.Values(""), "defaults http-endpoint": wire.DefaultEndpoint.Values(""), "defaults ipv6": wire.DefaultEndpoint.Values(""),
		"network": {"auto", "pasta", "slirp4netns", "none"}, "on": {"all", "token", "data"}, "form": {"signature", "pkcs7", "rsa2048"}, "shell": {"sh", "fish"},
		"by": groupings(), "ip-address-type": wire.AddressType.Values(""), "blueprint": idsOf(openimds.Blueprints(), func(b openimds.Blueprint) string { return b.ID }),
		"bundle":            idsOf(openimds.Bundles(defaultRegion), func(b openimds.Bundle) string { return b.ID }),
		"event spot action": control.SpotActions(), "event maintenance code": control.MaintenanceCodes(),
		"event maintenance state": control.MaintenanceStates(), "event clear kind": eventKinds(),
		"metrics metric": openimds.Metrics(), "alarm put metric": slices.DeleteFunc(openimds.Metrics(), func(name string) bool { return !slices.Contains(wire.AlarmMetricName.Values(""), name) }), "alarm put comparison": wire.Comparison.Values(""),
		"alarm put missing-data": wire.MissingData.Values(""), "alarm put notify-on": wire.AlarmState.Values(""),
	}
}

func idsOf[T any](all []T, id func(T) string) (ids []string) {
	for _, one := range all {
		ids = append(ids, id(one))
	}
	return ids
}

// addCompletion has a shell complete what commands take: words of flags, and the names of instances.
func addCompletion(cmd *cobra.Command) { addChoices(cmd, choices()) }

func addChoices(cmd *cobra.Command, choices map[string][]string) {
	_, path, _ := strings.Cut(cmd.CommandPath(), " ")
	for name, words := range choices {
		before, flag := "", name
		if at := strings.LastIndexByte(name, ' '); at >= 0 {
			before, flag = name[:at], name[at+1:]
		}
		if before != path && (before != "" || choices[path+" "+flag] != nil) {
			continue
		}
		if cmd.Flags().Lookup(flag) != nil || cmd.PersistentFlags().Lookup(flag) != nil {
			_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // no two are registered
		}
	}
	_, arguments, _ := strings.Cut(cmd.Use, " ")
	if cmd.Name() != "create" && strings.HasPrefix(strings.TrimLeft(arguments, "["), "NAME") {
		cmd.ValidArgsFunction = completeInstances
	}
	if arguments == "HOST" && cmd.Name() != "enroll" {
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return completeHosts(cmd, args, begun)
		}
	}
	switch strings.TrimLeft(arguments, "[") {
	case "ALARM", "ALARM...", "ALARM]":
		if cmd.Name() != "put" {
			cmd.ValidArgsFunction = completed(alarmsOf, arguments == "ALARM...")
		}
	case "PROFILE|KEY-ID", "PROFILE]":
		cmd.ValidArgsFunction = completed(profilesOf, false)
	}
	for flag, all := range map[string]func(*cobra.Command) []string{"key-pair": keyPairsOf, "zone": zonesOf} {
		if cmd.Flags().Lookup(flag) != nil {
			_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
				return completed(all, true)(cmd, nil, begun)
			})
		}
	}
	if cmd.Name() == "attach" {
		_ = cmd.RegisterFlagCompletionFunc("host", completeHosts)
	}
	if cmd.Flags().Lookup("instance") != nil {
		_ = cmd.RegisterFlagCompletionFunc("instance", func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
			return completeInstances(cmd, nil, begun)
		})
	}
	for _, sub := range cmd.Commands() {
		addChoices(sub, choices)
	}
}

// completed offers names that are not there yet; unless there can be several, as the first word only.
func completed(all func(*cobra.Command) []string, several bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && !several {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		offered := slices.DeleteFunc(all(cmd), func(name string) bool { return !strings.HasPrefix(name, begun) || slices.Contains(args, name) })
		return offered, cobra.ShellCompDirectiveNoFileComp
	}
}

// alarmsOf are the names of the server's alarms.
func alarmsOf(cmd *cobra.Command) []string {
	return namesOf(cmd, wire.GetAlarms, wire.GetAlarmsRequest{}, func(page wire.GetAlarmsResult) []string {
		return idsOf(page.Alarms, func(a wire.Alarm) string { return a.Name })
	})
}

// keyPairsOf are the names of the server's key pairs.
func keyPairsOf(cmd *cobra.Command) []string {
	return namesOf(cmd, wire.GetKeyPairs, wire.GetKeyPairsRequest{}, func(page wire.GetKeyPairsResult) []string {
		return idsOf(page.KeyPairs, func(k wire.KeyPair) string { return k.Name })
	})
}

// zonesOf are the availability zones of the region that the command is for.
func zonesOf(cmd *cobra.Command) []string {
	region := ""
	if f := cmd.Flag("region"); f != nil {
		region = f.Value.String()
	}
	if f := cmd.Flag("data-dir"); f != nil && region == "" {
		if dir, err := dataDirOr(f.Value.String()); err == nil {
			region = server.RegionBeside(filepath.Join(dir, credentialsFile))
		}
	}
	return openimds.Zones(cmp.Or(region, defaultRegion))
}

// profilesOf are the profiles of the keys in the data directory that the command is for.
func profilesOf(cmd *cobra.Command) []string {
	dir, err := dataDirOr(cmd.Flag("data-dir").Value.String())
	if err != nil {
		return nil
	}
	keys, err := accesskeys.Open(filepath.Join(dir, credentialsFile)).List()
	if err != nil {
		return nil
	}
	return idsOf(keys, func(k accesskeys.Key) string { return k.Profile })
}

// completeInstances offers the instances of the server that are not named yet.
func completeInstances(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	return completed(instancesOf, true)(cmd, args, begun)
}

// completeHosts offers the hosts that the server knows.
func completeHosts(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	return slices.DeleteFunc(hostsOf(cmd), func(name string) bool { return !strings.HasPrefix(name, begun) }), cobra.ShellCompDirectiveNoFileComp
}

// completeLifecycle offers the states of "event lifecycle", and behind one the instances.
func completeLifecycle(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return control.LifecycleStates(), cobra.ShellCompDirectiveNoFileComp
	}
	return completeInstances(cmd, args, begun)
}
