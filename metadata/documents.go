package metadata

import (
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
)

const indent = "  "

// hasRole is the condition of iam/.
func hasRole(v *View, _ args) bool { return v.Instance.Role != nil && v.Credentials != nil }

// hasCredentials is the condition of identity-credentials/.
func hasCredentials(v *View, _ args) bool { return v.Credentials != nil }

// roleSet is the set of the role that this request may see.
func roleSet(v *View) openimds.CredentialSet {
	if v.V2 {
		return openimds.RoleForV2
	}
	return openimds.RoleForV1
}

// credentials is the document of one set: the keys, with the account that they are of if that is wanted and known, or
// the reason why there are none.
func credentials(set func(v *View) openimds.CredentialSet, account bool) value {
	return func(it Item, v *View, _ args) Item {
		c := v.Credentials.Credentials(v.Instance, set(v), v.Now)
		// Recordings show a set reaching the host two seconds before the time written in it.
		it.Modified = c.LastUpdated.Add(-2 * time.Second)
		if c.Code != openimds.CredentialsSuccess {
			it.Body = appendFailure(it.Body, c)
			return it
		}
		b := append(slices.Grow(it.Body, 256+len(c.Token)), '{')
		b = textMember(b, indent, "Code", c.Code)
		b = timeMember(b, indent, "LastUpdated", c.LastUpdated)
		b = textMember(b, indent, "Type", c.Type)
		b = textMember(b, indent, "AccessKeyId", c.AccessKeyID)
		b = appendJSON(member(b, indent, "SecretAccessKey"), c.SecretAccessKey)
		b = appendJSON(member(b, indent, "Token"), c.Token)
		b = timeMember(b, indent, "Expiration", c.Expiration)
		if account && c.AccountID != "" {
			b = textMember(b, indent, "AccountId", c.AccountID)
		}
		it.Body = append(b, "\n}"...)
		return it
	}
}

// appendFailure writes the document that stands in place of credentials; it too is served as 200.
func appendFailure(b []byte, c openimds.RoleCredentials) []byte {
	b = append(b, '{')
	b = textMember(b, indent, "Code", c.Code)
	b = textMember(b, indent, "Message", c.Message)
	b = timeMember(b, indent, "LastUpdated", c.LastUpdated)
	return append(b, "\n}"...)
}

// iamInfo says which instance profile the role came by. It fails only when the profile is gone: a
// role that may not be assumed has a profile all the same.
func iamInfo(it Item, v *View, _ args) Item {
	c := v.Credentials.Credentials(v.Instance, roleSet(v), v.Now)
	it.Modified = c.LastUpdated
	if c.Code == openimds.CredentialsNoProfile {
		it.Body = appendFailure(it.Body, c)
		return it
	}
	b := append(slices.Grow(it.Body, 256), '{')
	b = textMember(b, indent, "Code", openimds.CredentialsSuccess)
	b = timeMember(b, indent, "LastUpdated", c.LastUpdated)
	b = textMember(b, indent, "InstanceProfileArn", v.Instance.Role.ProfileARN)
	b = textMember(b, indent, "InstanceProfileId", v.Instance.Role.ProfileID)
	it.Body = append(b, "\n}"...)
	return it
}

// identityCredentialsInfo says whose the instance's own credentials are.
func identityCredentialsInfo(it Item, v *View, _ args) Item {
	c := v.Credentials.Credentials(v.Instance, openimds.InstanceIdentity, v.Now)
	it.Modified = c.LastUpdated
	b := append(slices.Grow(it.Body, 128), '{')
	b = textMember(b, indent, "Code", openimds.CredentialsSuccess)
	b = timeMember(b, indent, "LastUpdated", c.LastUpdated)
	b = textMember(b, indent, "AccountId", v.Instance.OwnerID)
	it.Body = append(b, "\n}"...)
	return it
}

// IdentityDocument is the identity document of an instance, byte for byte as guests read it and signatures sign it.
func IdentityDocument(in *openimds.Instance) []byte { return appendDocument(nil, in.Told()) }

// appendDocument writes the instance identity document. Its bytes are what the signatures sign, so
// they must be the same at each request; nothing here may depend on the time.
func appendDocument(b []byte, in *openimds.Instance) []byte {
	b = append(slices.Grow(b, 512), '{')
	b = orNull(b, "accountId", in.OwnerID)
	b = orNull(b, "architecture", in.Architecture)
	b = orNull(b, "availabilityZone", in.Zone)
	b = append(member(b, indent, "billingProducts"), "null"...)
	b = append(member(b, indent, "devpayProductCodes"), "null"...)
	b = appendJSONArray(member(b, indent, "marketplaceProductCodes"), in.ProductCodes)
	b = orNull(b, "imageId", in.ImageID)
	b = orNull(b, "instanceId", in.ID)
	b = orNull(b, "instanceType", in.InstanceType)
	b = orNull(b, "kernelId", in.KernelID)
	b = timeMember(b, indent, "pendingTime", in.LaunchedAt)
	b = orNull(b, "privateIp", privateIPv4(in))
	b = orNull(b, "ramdiskId", in.RamdiskID)
	b = orNull(b, "region", in.Region)
	b = textMember(b, indent, "version", "2017-09-30")
	return append(b, "\n}"...)
}

// orNull writes a member that is null when it has no value.
func orNull(b []byte, key, value string) []byte {
	b = member(b, indent, key)
	if value == "" {
		return append(b, "null"...)
	}
	return appendJSON(b, value)
}

// appendJSONArray writes texts on one line, and none of them as null.
func appendJSONArray(b []byte, texts []string) []byte {
	if len(texts) == 0 {
		return append(b, "null"...)
	}
	for i, s := range texts {
		if i == 0 {
			b = append(b, "[ "...)
		} else {
			b = append(b, ", "...)
		}
		b = appendJSON(b, s)
	}
	return append(b, " ]"...)
}

func privateIPv4(in *openimds.Instance) string {
	if len(in.NICs) == 0 || len(in.NICs[0].PrivateIPv4) == 0 || !in.NICs[0].PrivateIPv4[0].IsValid() {
		return ""
	}
	return in.NICs[0].PrivateIPv4[0].String()
}

// document is the identity document. It belongs to one launch, and so does its time.
func document(it Item, v *View, _ args) Item {
	it.Body = appendDocument(it.Body, v.Instance)
	it.Modified = v.Instance.LaunchedAt
	return it
}

// signature is one of the signatures of the identity document; without a signer there is none.
func signature(sign func(s Signatures, in *openimds.Instance, document []byte) ([]byte, bool)) value {
	return func(it Item, v *View, _ args) Item {
		it.Modified = v.Instance.LaunchedAt
		if v.Identity == nil {
			return it
		}
		if text, ok := sign(v.Identity, v.Instance, appendDocument(nil, v.Instance)); ok {
			it.Body = append(it.Body, text...)
		}
		return it
	}
}

// maintenance is the list of the scheduled events, or of those that are over; it may be empty.
func maintenance(over bool) value {
	return body(func(b []byte, in *openimds.Instance) []byte {
		b = append(b, '[')
		for i := range in.Events.Maintenance {
			e := &in.Events.Maintenance[i]
			if (e.State == "completed" || e.State == "canceled") != over {
				continue
			}
			if b[len(b)-1] != '[' {
				b = append(b, ',')
			}
			b = appendMaintenance(append(b, "\n"+indent...), e)
		}
		if b[len(b)-1] != '[' {
			b = append(b, '\n')
		}
		return append(b, ']')
	})
}

// appendMaintenance writes one event with its members in the order of the EC2 user guide's sample,
// and its times in that sample's own form. The deadline, of which there is no sample, follows the
// two other times.
func appendMaintenance(b []byte, e *openimds.MaintenanceEvent) []byte {
	const in = indent + indent
	times := func(b []byte, key string, t time.Time) []byte {
		if t.IsZero() {
			return b
		}
		return textMember(b, in, key, t.UTC().Format("2 Jan 2006 15:04:05 GMT"))
	}
	b = append(b, '{')
	b = times(b, "NotBefore", e.NotBefore)
	b = textMember(b, in, "Code", e.Code)
	b = textMember(b, in, "Description", e.ShownDescription())
	b = textMember(b, in, "EventId", e.ID)
	b = times(b, "NotAfter", e.NotAfter)
	b = times(b, "NotBeforeDeadline", e.NotBeforeDeadline)
	b = textMember(b, in, "State", e.State)
	return append(b, "\n"+indent+"}"...)
}

// What is announced is told over a recording, too.

func hasInterruption(in *openimds.Instance) bool    { return in.Events.Spot != nil }
func hasRebalance(in *openimds.Instance) bool       { return !in.Events.RebalanceAt.IsZero() }
func hasMaintenance(in *openimds.Instance) bool     { return len(in.Events.Maintenance) > 0 }
func inAutoScalingGroup(in *openimds.Instance) bool { return in.Events.InAutoScalingGroup() }
func isSpot(in *openimds.Instance) bool             { return in.Events.AnnouncesSpot() }
func hibernates(in *openimds.Instance) bool         { return in.Events.AnnouncesHibernation() }

// rebalance and spotAction have a layout of their own, on one line.

func rebalance(b []byte, in *openimds.Instance) []byte {
	if in.Events.RebalanceAt.IsZero() {
		return b
	}
	b = append(b, `{"noticeTime": "`...)
	b = appendTime(b, in.Events.RebalanceAt)
	return append(b, `"}`...)
}

func spotAction(b []byte, in *openimds.Instance) []byte {
	s := in.Events.Spot
	if s == nil {
		return b
	}
	b = append(b, `{"action": `...)
	b = appendJSON(b, s.Action)
	b = append(b, `, "time": "`...)
	b = appendTime(b, s.Time)
	return append(b, `"}`...)
}

// partitionOf tells the partition and the domain of a region's services.
func partitionOf(region string) (partition, domain string) {
	for _, p := range [...]struct{ prefix, partition, domain string }{
		{"cn-", "aws-cn", "amazonaws.com.cn"},
		{"us-gov-", "aws-us-gov", "amazonaws.com"},
		{"us-iso-", "aws-iso", "c2s.ic.gov"},
		{"us-isob-", "aws-iso-b", "sc2s.sgov.gov"},
		{"us-isof-", "aws-iso-f", "csp.hci.ic.gov"},
		{"eu-isoe-", "aws-iso-e", "cloud.adc-e.uk"},
		{"eusc-", "aws-eusc", "amazonaws.eu"},
	} {
		if strings.HasPrefix(region, p.prefix) {
			return p.partition, p.domain
		}
	}
	return "aws", "amazonaws.com"
}
