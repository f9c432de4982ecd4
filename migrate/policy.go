package migrate

import "encoding/json"

// Policy is the least that an IAM policy has to allow at AWS for the instances of a provider, "lightsail" or "ec2": to
// look, and with changes to require tokens, take that back and, at EC2, enforce them.
//
// The actions' names are the operations' (Service Authorization Reference, Amazon Lightsail, Amazon EC2, Amazon
// CloudWatch). Those that list cannot be held to single instances, nor can an account's defaults.
func Policy(provider string, changes bool) string {
	looks, requires := []string{
		"lightsail:GetInstance", "lightsail:GetInstances", "lightsail:GetInstanceMetricData",
		"lightsail:GetOperationsForResource", "lightsail:GetRegions",
	}, []statement{{"OpenimdsMigrateRequires", "Allow", []string{"lightsail:UpdateInstanceMetadataOptions"}, "arn:aws:lightsail:*:*:Instance/*"}}
	if provider == "ec2" {
		looks = []string{"cloudwatch:GetMetricData", "ec2:DescribeInstances", "ec2:DescribeRegions", "ec2:GetInstanceMetadataDefaults"}
		requires = []statement{
			{"OpenimdsMigrateRequires", "Allow", []string{"ec2:ModifyInstanceMetadataOptions"}, "arn:aws:ec2:*:*:instance/*"},
			{"OpenimdsMigrateEnforces", "Allow", []string{"ec2:ModifyInstanceMetadataDefaults"}, "*"},
		}
	}
	statements := []statement{{"OpenimdsMigrateLooks", "Allow", looks, "*"}}
	if changes {
		statements = append(statements, requires...)
	}
	text, _ := json.MarshalIndent(map[string]any{"Version": "2012-10-17", "Statement": statements}, "", "  ") // plain texts
	return string(text) + "\n"
}

// statement is one of a policy.
type statement struct {
	Sid      string   `json:"Sid"`
	Effect   string   `json:"Effect"`
	Action   []string `json:"Action"`
	Resource string   `json:"Resource"`
}
