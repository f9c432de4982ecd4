package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/instanceconnect"
	"github.com/openimds/openimds/server"
	"github.com/spf13/cobra"
)

// newSSHKey makes "openimds ssh-key": keys that guests find for a minute, as by EC2 Instance Connect.
func newSSHKey() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ssh-key",
		Short: "Push SSH keys to guests for a minute, as EC2 Instance Connect does",
		Args:  noSubcommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSSHKeyPush(), newSSHKeySigner())
	return cmd
}

func newSSHKeyPush() *cobra.Command {
	var c clientConfig
	var user, file string
	cmd := &cobra.Command{
		Use:   "push NAME",
		Short: "Have a guest find a public key for one of its users, for 60 seconds",
		Long: `Have a guest find a public key for one of its users, for 60 seconds. Guests with the package ec2-instance-connect
let in who has its private key; they have to know the authority that signs ('openimds ssh-key signer').`,
		Example: `  openimds ssh-key push web-1 --user ubuntu --key ~/.ssh/id_ed25519.pub && ssh ubuntu@10.9.1.2`,
		Args:    names(1, 1, "one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if user == "" || file == "" {
				return usagef("say whose key it is, and where: --user and --key")
			}
			key, err := readPublicKey(cmd, file)
			if err != nil {
				return err
			}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			request := wire.SendSSHPublicKeyRequest{InstanceName: args[0], OSUser: user, PublicKey: key}
			result, err := client.Call(cmd.Context(), api, wire.SendSSHPublicKey, request)
			if err != nil {
				return err
			}
			if c.output == "json" {
				return c.show(cmd.OutOrStdout(), result.Operation, nil)
			}
			return say(cmd.OutOrStdout(), "%s finds the key for %s until %s\n", args[0], user, result.Operation.OperationDetails)
		},
	}
	c.addFlags(cmd)
	cmd.Flags().StringVar(&user, "user", "", "the user of the guest's operating system: a `name`")
	cmd.Flags().StringVar(&file, "key", "", "`file` with the public key, one line; - for standard input")
	return cmd
}

func readPublicKey(cmd *cobra.Command, file string) (string, error) {
	text, err := readInput(cmd, file, maxKeyFile)
	if err != nil {
		return "", fmt.Errorf("--key: %w", err)
	}
	if strings.Contains(string(text), "PRIVATE KEY") { // it is not even sent
		return "", fmt.Errorf("--key: %s is a private key; the public one is usually beside it, as %s.pub", file, file)
	}
	return string(text), nil
}

func newSSHKeySigner() *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "signer",
		Short: "Print the certificate (PEM) of the authority that guests have to know",
		Long: `Print the certificate (PEM) of the authority that signs pushed keys. Guests have it under its name, with
underscores, where their CAs are; it is made when the first key is pushed.`,
		Example: `  openimds ssh-key signer > openimds_EC2_Instance_Connect_CA.crt
  # in the guest (Debian, Ubuntu): into /usr/local/share/ca-certificates/, then update-ca-certificates`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dataDir == "" {
				var err error
				if dataDir, err = defaultDataDir(); err != nil {
					return err
				}
			}
			signer, err := instanceconnect.Open(filepath.Join(dataDir, server.InstanceConnectFile))
			if err != nil {
				return err
			}
			ca, ok := signer.CA()
			if !ok {
				return fmt.Errorf("%s has no authority for SSH keys yet: it is made when the first key is pushed", dataDir)
			}
			_, err = cmd.OutOrStdout().Write(ca)
			return err
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "", "where the server keeps its data")
	return cmd
}
