package main

import (
	"errors"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/server"
	"github.com/spf13/cobra"
)

// placeOfGuarded is where it is, for people.
func placeOfGuarded(g wire.GuardedPlace) string {
	if g.NetworkNamespace != "" {
		return "namespace " + g.NetworkNamespace
	}
	return "interface " + g.Interface
}

func newRelease() *cobra.Command {
	var c clientConfig
	var all, offline bool
	cmd := &cobra.Command{
		Use:   "release [PLACE...]",
		Short: "Open the host's own way to metadata again for places that were attached, or list them",
		Long: `Open the host's own way to metadata again for places that were attached.

A place that was attached stays guarded when it is detached, and when the server stops, is killed or
restarts: nobody calls the host's own metadata service from there, if the host has one. The guard ends
with the interface or the namespace, and with this command. Without a place: list what is guarded.`,
		Example: `  openimds release                  # what is guarded and not attached
  openimds release tap0             # an interface
  openimds release /run/netns/web2  # a namespace, as it is listed
  openimds release --all
  openimds release --all --offline  # with the server stopped, as root on its host: before it is removed`,
		Args: func(_ *cobra.Command, args []string) error {
			if all && len(args) > 0 {
				return usagef("give places or --all, not both")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if offline {
				released, err := releaseOffline(args, all)
				if err != nil {
					return err
				}
				return c.showGuarded(cmd, released)
			}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			var answer wire.GuardedPlacesResult
			if len(args) == 0 && !all {
				answer, err = client.Call(cmd.Context(), api, wire.GetGuardedPlaces, wire.Nothing{})
			} else {
				answer, err = client.Call(cmd.Context(), api, wire.ReleasePlaces, wire.ReleasePlacesRequest{Names: args, All: all})
			}
			if err != nil {
				return err
			}
			return c.showGuarded(cmd, answer.Places)
		},
	}
	c.addFlags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "all places that are guarded and not attached")
	cmd.Flags().BoolVar(&offline, "offline", false, "of this host, whose server is stopped; needs the server's capabilities")
	return cmd
}

func (c *clientConfig) showGuarded(cmd *cobra.Command, places []wire.GuardedPlace) error {
	return c.show(cmd.OutOrStdout(), places, func(row func(...any)) {
		row("PLACE")
		for _, p := range places {
			row(placeOfGuarded(p))
		}
	})
}

// releaseOffline does a server's part, with none running.
func releaseOffline(names []string, all bool) ([]wire.GuardedPlace, error) {
	released, err := server.ReleasePlaces(names, all)
	if errors.Is(err, server.ErrRunning) {
		return nil, errors.New("an openimds process serves the guests of this host: stop it first, or leave --offline away")
	}
	if err != nil {
		return nil, err
	}
	out := make([]wire.GuardedPlace, 0, len(released))
	for _, p := range released {
		out = append(out, wire.GuardedPlace{Interface: p.Interface, NetworkNamespace: p.Netns})
	}
	return out, nil
}
