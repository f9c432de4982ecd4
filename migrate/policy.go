package migrate

import "encoding/json"

// Policy is the least that an IAM policy has to allow at AWS: to look, and with changes to require tokens and take
// that back.
//
// The actions' names are the operations' (Service Authorization Reference, Amazon Lightsail). Those that list
// cannot be held to single instances.
func Policy(changes bool) string {
	type statement struct {
		Sid      string   `json:"Sid"`
		Effect   string   `json:"Effect"`
		Action   []string `json:"Action"`
		Resource string   `json:"Resource"`
	}
	statements := []statement{{
		Sid: "OpenimdsMigrateLooks", Effect: "Allow", Resource: "*",
		Action: []string{
			"lightsail:GetInstance", "lightsail:GetInstances", "lightsail:GetInstanceMetricData",
			"lightsail:GetOperationsForResource", "lightsail:GetRegions",
		},
	}}
	if changes {
		statements = append(statements, statement{
			Sid: "OpenimdsMigrateRequires", Effect: "Allow", Resource: "arn:aws:lightsail:*:*:Instance/*",
			Action: []string{"lightsail:UpdateInstanceMetadataOptions"},
		})
	}
	text, _ := json.MarshalIndent(map[string]any{"Version": "2012-10-17", "Statement": statements}, "", "  ") // plain texts
	return string(text) + "\n"
}
