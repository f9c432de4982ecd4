package ec2_test

import (
	"net/url"
	"testing"

	"github.com/openimds/openimds/control"
)

// TestTokensBelongToAQuestion: a page's token leads nowhere in another region, for another action, or with other filters; how
// large a page is may change.
func TestTokensBelongToAQuestion(t *testing.T) {
	s := newServer(t)
	other := newServerOn(t, s.store, func(c *control.Config) { c.Region = "eu-west-1" })
	image := s.image("ubuntu_24_04")
	s.must("Action=RunInstances&MinCount=12&MaxCount=12&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=a&ImageId=" + image)
	const filter, elsewhere = "&Filter.1.Name=tag-key&Filter.1.Value.1=a", "&Filter.1.Name=tag-key&Filter.1.Value.1=a&Filter.1.Value.2=b"
	lists := []string{
		"DescribeInstances&MaxResults=5", "DescribeInstanceStatus&MaxResults=5&IncludeAllInstances=true", "DescribeTags&MaxResults=5",
		"DescribeInstances&MaxResults=5" + filter, "DescribeInstanceStatus&MaxResults=5&IncludeAllInstances=true" + filter, "DescribeTags&MaxResults=5" + filter,
		"DescribeInstances&MaxResults=5" + elsewhere, "DescribeInstanceTypes&MaxResults=5", "DescribeImages&MaxResults=5", "DescribeImages&MaxResults=5&Owner.1=amazon",
	}
	for i, from := range lists {
		token := "&NextToken=" + url.QueryEscape(value(t, s.must("Action="+from), "nextToken"))
		for j, to := range lists {
			if i == j {
				s.must("Action=" + to + token)
				continue
			}
			s.call("Action="+to+token).refused(t, "InvalidNextToken", "")
		}
		other.call("Action="+from+token).refused(t, "InvalidNextToken", "")
	}
	token := "&NextToken=" + url.QueryEscape(value(t, s.must("Action=DescribeInstances&MaxResults=5"), "nextToken"))
	s.must("Action=DescribeInstances&MaxResults=6" + token)
}
