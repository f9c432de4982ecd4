package imds

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/openimds/openimds"
)

// Times of the fixed instance, and as they stand in headers.
var (
	launchedAt = time.Date(2026, 3, 1, 10, 20, 30, 0, time.UTC)
	modifiedAt = time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC)
	updatedAt  = time.Date(2026, 3, 1, 11, 30, 0, 0, time.UTC)
)

const (
	launchedText = "Sun, 01 Mar 2026 10:20:30 GMT"
	modifiedText = "Sun, 01 Mar 2026 11:00:00 GMT"
	updatedText  = "Sun, 01 Mar 2026 11:30:00 GMT"
	beforeUpdate = "Sun, 01 Mar 2026 11:29:58 GMT" // when the credentials reached the host
)

const (
	fixedMAC = "06:b0:01:02:03:cf"
	macsPath = "/latest/meta-data/network/interfaces/macs/"
)

// fixedCredentials gives each set keys that name it.
type fixedCredentials struct{}

func (fixedCredentials) Credentials(_ *openimds.Instance, set openimds.CredentialSet, _ time.Time) openimds.RoleCredentials {
	name := [...]string{"ROLEV1", "ROLEV2", "IDENTITY"}[set]
	return openimds.RoleCredentials{
		Code:            openimds.CredentialsSuccess,
		Type:            "AWS-HMAC",
		AccountID:       "000029643808",
		AccessKeyID:     "ASIA" + name,
		SecretAccessKey: openimds.Secret("secret/" + name),
		Token:           openimds.Secret("token+" + name + "=="),
		LastUpdated:     updatedAt,
		Expiration:      updatedAt.Add(6*time.Hour + 17*time.Minute + time.Second),
	}
}

// failingCredentials is a source that has nothing but a reason.
type failingCredentials struct{ code, message string }

func (f failingCredentials) Credentials(*openimds.Instance, openimds.CredentialSet, time.Time) openimds.RoleCredentials {
	return openimds.RoleCredentials{Code: f.code, Message: f.message, LastUpdated: updatedAt}
}

// fixedInstance is an instance of which every byte is known, and which has all that a category may
// show.
func fixedInstance() *openimds.Instance {
	one := 1
	private := []netip.Addr{netip.MustParseAddr("172.26.3.4"), netip.MustParseAddr("172.26.3.5")}
	in := bareInstance()
	in.Role = &openimds.Role{
		Name:       "AmazonLightsailInstanceRole",
		ProfileARN: "arn:aws:iam::000029643808:instance-profile/AmazonLightsailInstanceRole",
		ProfileID:  "AIPAABCDEFGHJKLMN2345",
	}
	in.UserData = []byte("#!/bin/sh\n\x00\xff\n")
	in.PublicKeys = []openimds.PublicKey{{Name: "my-key", Key: "ssh-ed25519 AAAA my-key"}, {Name: "second", Key: "ssh-rsa BBBB"}}
	in.ManagedKeys = []openimds.ManagedKey{{User: "ec2-user", Lines: "ssh-ed25519 CCCC", Until: noon.Add(time.Minute)}}
	in.Options.Tags = openimds.EndpointEnabled
	in.Tags = []openimds.Tag{
		{Key: "Name", Value: "web"}, {Key: "empty"}, {Key: "Also+-=.,_:@", Value: "signs"},
		{Key: "not allowed", Value: "x"}, {Key: "a/b", Value: "x"}, {Key: "_index", Value: "x"}, {Key: "..", Value: "x"},
	}
	in.Hibernation, in.PlacementGroup, in.PartitionNumber, in.HostID = true, "group", 3, "h-1"
	in.Events = openimds.Events{
		RebalanceAt:    time.Date(2020, 10, 27, 8, 22, 0, 0, time.UTC),
		Spot:           &openimds.SpotInterruption{Action: "terminate", Time: time.Date(2017, 9, 18, 8, 22, 0, 0, time.UTC)},
		LifecycleState: "InService",
	}
	n := &in.NICs[0]
	n.NetworkCard, n.PrivateIPv4 = &one, private
	n.PublicHostname = "ec2-198-18-7-8.compute-1.amazonaws.com"
	n.Associations = []openimds.Association{{Public: netip.MustParseAddr("198.18.7.8"), Private: private}}
	n.IPv6 = []netip.Addr{netip.MustParseAddr("2001:db8:1a:2600::1:2")}
	n.IPv4Prefixes = []netip.Prefix{netip.MustParsePrefix("172.26.3.16/28")}
	n.IPv6Prefixes = []netip.Prefix{netip.MustParsePrefix("2001:db8:1a:2600:1::/80")}
	n.SubnetIPv6CIDRs = []netip.Prefix{netip.MustParsePrefix("2001:db8:1a:2600::/64")}
	n.VPCIPv6CIDRs = []netip.Prefix{netip.MustParsePrefix("2001:db8:1a:2600::/56")}
	return in
}

// bareInstance has only what every instance has.
func bareInstance() *openimds.Instance {
	in := openimds.NewInstance(openimds.Launch{Name: "web-1", Region: "us-east-1", BlueprintID: "amazon_linux_2", AddressType: "ipv4", ReservationID: "r-1"}, launchedAt)
	in.ID, in.ImageID, in.OwnerID = "i-0123456789abcdef0", "ami-0123456789abcdef0", "000029643808"
	in.ModifiedAt = modifiedAt
	in.TokenKey = bytes.Repeat([]byte{'k'}, openimds.TokenKeySize)
	in.Role = nil
	n := &in.NICs[0]
	n.ID, n.MAC, n.SubnetID, n.VPCID = "eni-0123456789abcdef0", fixedMAC, "subnet-1", "vpc-1"
	n.SecurityGroupIDs = []string{"sg-1"}
	n.PrivateIPv4 = []netip.Addr{netip.MustParseAddr("172.26.3.4")}
	n.LocalHostname = "ip-172-26-3-4.ec2.internal"
	n.Associations, n.PublicHostname = nil, ""
	return in
}

// The bytes of answers, written down apart from the code that makes them.

const (
	closing   = "Date: Sun, 01 Mar 2026 12:00:00 GMT\r\nServer: EC2ws\r\nConnection: close\r\n"
	plainLast = "Content-Length: 0\r\n" + closing + "Content-Type: text/plain\r\n\r\n"

	ok200     = "HTTP/1.1 200 OK\r\n"
	ttlHeader = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds: "
)

// refused is an answer of the token layer: no body, and the type last.
func refused(status string) string { return "HTTP/1.1 " + status + "\r\n" + plainLast }

func refusedAllow(status, allow string) string {
	return "HTTP/1.1 " + status + "\r\nAllow: " + allow + "\r\n" + plainLast
}

var (
	badRequest   = refused("400 Bad Request")
	unauthorized = refused("401 Unauthorized")
	forbidden    = refused("403 Forbidden")
)

// issued is the answer to a PUT; {NEW} stands for the token.
func issued(ttl int) string {
	return ok200 + ttlHeader + strconv.Itoa(ttl) + "\r\nContent-Length: 56\r\n" + closing + "Content-Type: text/plain\r\n\r\n{NEW}"
}

// data is a 200 with an item to a request of version 1.
func data(modified, body string) string { return typed("text/plain", modified, body) }

func typed(contentType, modified, body string) string {
	return ok200 + "Content-Type: " + contentType + "\r\nAccept-Ranges: none\r\nLast-Modified: " + modified +
		"\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n" + closing + "\r\n" + body
}

// text is the usual item: plain, changed when the instance was.
func text(body string) string { return data(modifiedText, body) }

// left makes of an answer that to a request whose session has so many seconds left.
func left(seconds int, answer string) string {
	line, rest, _ := strings.Cut(answer, "\r\n")
	return line + "\r\n" + ttlHeader + strconv.Itoa(seconds) + "\r\n" + rest
}

// head leaves of an answer what HEAD shows.
func head(answer string) string {
	h, _, _ := strings.Cut(answer, "\r\n\r\n")
	return h + "\r\n\r\n"
}

const (
	pageStart = "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n" +
		"<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n" +
		"\t\t \"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n" +
		"<html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n" +
		" <head>\n  <title>"
	pageMiddle = "</title>\n </head>\n <body>\n  <h1>"
	pageEnd    = "</h1>\n </body>\n</html>\n"

	notFound = "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 339\r\n" + closing + "\r\n" +
		pageStart + "404 - Not Found" + pageMiddle + "404 - Not Found" + pageEnd
	expectationFailed = "HTTP/1.1 417 Expectation Failed\r\nContent-Type: text/html\r\nContent-Length: 357\r\n" + closing + "\r\n" +
		pageStart + "417 - Expectation Failed" + pageMiddle + "417 - Expectation Failed" + pageEnd
)
