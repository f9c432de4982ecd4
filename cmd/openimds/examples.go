package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// examples has for each command whose text shows none, by its path, lines that can be typed as they are.
var examples = map[string][]string{
	"alarm":                   {"openimds alarm put v1-again --instance demo --metric MetadataNoToken", "openimds alarm list"},
	"alarm list":              {"openimds alarm list", "openimds alarm list --instance demo"},
	"alarm test":              {"openimds alarm test v1-again ALARM"},
	"alarm delete":            {"openimds alarm delete v1-again"},
	"agent":                   {"openimds agent --join host-17.join", "openimds agent --data-dir /var/lib/openimds-agent --replica 10.0.0.1:1340 --replica 10.0.0.2:1340"},
	"serve":                   {"openimds serve", "openimds serve --region eu-central-1 --data-dir ./data"},
	"instance":                {"openimds instance create web-1", "openimds instance list -o json"},
	"instance create":         {"openimds instance create web-1 web-2 --blueprint debian_12"},
	"instance list":           {"openimds instance list", "openimds instance list -o json"},
	"instance show":           {"openimds instance show demo"},
	"instance start":          {"openimds instance start web-1"},
	"instance stop":           {"openimds instance stop web-1 web-2"},
	"instance reboot":         {"openimds instance reboot web-1"},
	"instance delete":         {"openimds instance delete web-1"},
	"callers":                 {"openimds callers --v1 --since 7d"},
	"keys":                    {"openimds keys list"},
	"keys create":             {"openimds keys create reader --read-only"},
	"keys list":               {"openimds keys list -o json"},
	"keys credential-process": {"openimds keys credential-process reader"},
	"keys revoke":             {"openimds keys revoke reader"},
	"identity":                {"openimds identity certificates"},
	"identity certificates":   {"openimds identity certificates --out ./certificates"},
	"identity rotate":         {"openimds identity rotate --in 168h"},
	"identity import":         {"openimds identity import key-and-certificate.pem --form rsa2048"},
	"event":                   {"openimds event spot demo", "openimds event clear demo"},
	"event spot":              {"openimds event spot demo"},
	"event rebalance":         {"openimds event rebalance demo"},
	"event maintenance":       {"openimds event maintenance demo"},
	"event lifecycle":         {"openimds event lifecycle Terminated demo"},
	"event clear":             {"openimds event clear demo"},
	"event play":              {"openimds event play timeline.yaml demo"},
	"import":                  {"openimds import dump tree.json web-1"},
	"compact":                 {"openimds compact --data-dir ./data"},
	"store":                   {"openimds store copy --from ./data --to etcd://127.0.0.1:2379/openimds"},
	"store copy":              {"openimds store copy --from ./data --to etcd://127.0.0.1:2379/openimds", "openimds store copy --from etcd://10.0.0.1/openimds --to ./data --store-ca ca.pem --store-cert server.pem --store-key server.key"},
	"ssh-key":                 {"openimds ssh-key push web-1 --user ubuntu --key id_ed25519.pub"},
	"host":                    {"openimds host enroll host-17 > host-17.join", "openimds host list"},
	"host list":               {"openimds host list", "openimds host list -o json"},
	"host show":               {"openimds host show host-17"},
	"host undrain":            {"openimds host undrain host-17"},
	"detach":                  {"openimds detach web-1"},
}

// addExamples gives each command its examples, unless it has its own.
func addExamples(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		if sub.Example == "" {
			_, path, _ := strings.Cut(sub.CommandPath(), " ")
			if lines := examples[path]; lines != nil {
				sub.Example = "  " + strings.Join(lines, "\n  ")
			}
		}
		addExamples(sub)
	}
}
