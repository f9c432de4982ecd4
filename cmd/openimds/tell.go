package main

import (
	"context"

	"github.com/openimds/openimds/api/lightsail/wire"
	typed "github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
)

// typed is the client of package client, of the same control API.
func (c *clientConfig) typed(ctx context.Context) (*typed.Client, error) {
	found, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	return typed.New(typed.Config{Endpoint: found.endpoint, Region: found.region, Credentials: found.credentials, HTTP: found.http, Insecure: true})
}

// tell prints changes, one by one, as they are made.
func (c *clientConfig) tell(cmd *cobra.Command) func(wire.Operation) error {
	return func(op wire.Operation) error {
		return c.show(cmd.OutOrStdout(), []wire.Operation{op}, func(row func(...any)) {
			row(op.ResourceName, op.OperationType, op.Status)
		})
	}
}
