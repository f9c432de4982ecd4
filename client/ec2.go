package client

import (
	"context"
	"encoding/xml"
	"net/url"
	"strconv"
	"time"
)

// The part of EC2's API (version 2016-11-15) that instances' metadata options are read and changed by. An answer has
// more than the structures here; what they do not have is passed over.
type (
	// EC2Instance is an instance as DescribeInstances shows it.
	EC2Instance struct {
		ID         string        `xml:"instanceId"`
		ImageID    string        `xml:"imageId"`
		State      string        `xml:"instanceState>name"`
		LaunchTime time.Time     `xml:"launchTime"` // of the latest start
		Tags       []EC2Tag      `xml:"tagSet>item"`
		Interfaces []EC2Attached `xml:"networkInterfaceSet>item"`
		Options    EC2Options    `xml:"metadataOptions"`
	}
	// EC2Tag of an instance.
	EC2Tag struct {
		Key   string `xml:"key"`
		Value string `xml:"value"`
	}
	// EC2Attached is since when a network interface is attached to an instance. The one of index 0 is for the
	// instance's whole life.
	EC2Attached struct {
		Index int       `xml:"attachment>deviceIndex"`
		Since time.Time `xml:"attachment>attachTime"`
	}
	// EC2Options are an instance's metadata options.
	EC2Options struct {
		State    string `xml:"state"` // pending or applied
		Tokens   string `xml:"httpTokens"`
		Endpoint string `xml:"httpEndpoint"`
		HopLimit int    `xml:"httpPutResponseHopLimit"`
		IPv6     string `xml:"httpProtocolIpv6"`
	}
	// EC2Instances is a page of DescribeInstances.
	EC2Instances struct {
		Reservations []EC2Reservation `xml:"reservationSet>item"`
		NextToken    string           `xml:"nextToken"`
	}
	// EC2Reservation has the instances of one launch, and whose they are.
	EC2Reservation struct {
		Account   string        `xml:"ownerId"`
		Instances []EC2Instance `xml:"instancesSet>item"`
	}
	// EC2Defaults are the account's defaults in the region, as GetInstanceMetadataDefaults shows them; what is empty is
	// without preference.
	EC2Defaults struct {
		Tokens   string `xml:"accountLevel>httpTokens"`
		Enforced string `xml:"accountLevel>httpTokensEnforced"` // enabled or disabled
	}
)

// EC2Change are options to be changed; what is empty stays.
type EC2Change struct {
	Tokens, Endpoint, IPv6 string
	HopLimit               int
}

const (
	mediaForm  = "application/x-www-form-urlencoded; charset=utf-8"
	ec2Version = "2016-11-15"
	// ec2Page is how many instances a page has at most.
	ec2Page = 1000
)

// ec2 carries out an action of EC2's API.
func (c *Client) ec2(ctx context.Context, action string, changes bool, params url.Values, out any) error {
	params.Set("Action", action)
	params.Set("Version", ec2Version)
	return c.ask(ctx, message{ServiceEC2, action, changes, mediaForm, []byte(params.Encode())}, xml.Unmarshal, out)
}

// EC2 calls EC2's API with a client of [ServiceEC2].
type EC2 struct{ *Client }

// DescribeInstances returns the page of the instances, or of those of the given ids, that a token stands for; the empty
// one is the first.
func (e EC2) DescribeInstances(ctx context.Context, token string, ids ...string) (EC2Instances, error) {
	params := url.Values{}
	for i, id := range ids {
		params.Set("InstanceId."+strconv.Itoa(i+1), id)
	}
	if len(ids) == 0 { // the two exclude each other
		params.Set("MaxResults", strconv.Itoa(ec2Page))
	}
	if token != "" {
		params.Set("NextToken", token)
	}
	var page EC2Instances
	err := e.ec2(ctx, "DescribeInstances", false, params, &page)
	return page, err
}

// ModifyInstanceMetadataOptions asks for options; their answer shows them pending.
func (e EC2) ModifyInstanceMetadataOptions(ctx context.Context, id string, to EC2Change) error {
	params := url.Values{"InstanceId": {id}}
	set(params, "HttpTokens", to.Tokens)
	set(params, "HttpEndpoint", to.Endpoint)
	set(params, "HttpProtocolIpv6", to.IPv6)
	if to.HopLimit != 0 {
		params.Set("HttpPutResponseHopLimit", strconv.Itoa(to.HopLimit))
	}
	return e.ec2(ctx, "ModifyInstanceMetadataOptions", true, params, new(struct{}))
}

// GetInstanceMetadataDefaults returns the account's defaults in the region.
func (e EC2) GetInstanceMetadataDefaults(ctx context.Context) (EC2Defaults, error) {
	var defaults EC2Defaults
	err := e.ec2(ctx, "GetInstanceMetadataDefaults", false, url.Values{}, &defaults)
	return defaults, err
}

// ModifyInstanceMetadataDefaults changes those of the account's defaults that are not empty: tokens are required,
// optional or no-preference, enforced is enabled, disabled or no-preference.
func (e EC2) ModifyInstanceMetadataDefaults(ctx context.Context, tokens, enforced string) error {
	params := url.Values{}
	set(params, "HttpTokens", tokens)
	set(params, "HttpTokensEnforced", enforced)
	return e.ec2(ctx, "ModifyInstanceMetadataDefaults", true, params, new(struct{}))
}

// DescribeRegions returns the names of the regions that the account has.
func (e EC2) DescribeRegions(ctx context.Context) ([]string, error) {
	var answer struct {
		Names []string `xml:"regionInfo>item>regionName"`
	}
	err := e.ec2(ctx, "DescribeRegions", false, url.Values{}, &answer)
	return answer.Names, err
}

func set(params url.Values, name, value string) {
	if value != "" {
		params.Set(name, value)
	}
}
