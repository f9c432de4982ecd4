package ec2

import (
	"context"
	"encoding/base64"
	"regexp"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/ec2/wire"
	"github.com/openimds/openimds/control"
)

var (
	imageIDForm = regexp.MustCompile(`^ami-[0-9a-f]{8,17}$`)
	profileForm = regexp.MustCompile(`^arn:[a-z-]+:iam::[0-9]{12}:instance-profile/(?:.*/)?([^/]+)$`)
	tokenForm   = regexp.MustCompile(`^[!-~]{1,64}$`)
)

func (c *call) runInstances(ctx context.Context, in *wire.RunInstancesRequest) (wire.Reservation, error) {
	launch, err := c.readLaunch(in)
	if err != nil {
		return wire.Reservation{}, err
	}
	made, err := c.service.RunInstances(ctx, launch)
	if err != nil {
		return wire.Reservation{}, err
	}
	result := wire.Reservation{ReservationID: made[0].ReservationID, OwnerID: made[0].OwnerID, GroupSet: []wire.Group{}}
	for _, one := range made {
		result.Instances = append(result.Instances, show(one))
	}
	return result, nil
}

// readLaunch reads what a request wants launched.
func (c *call) readLaunch(in *wire.RunInstancesRequest) (l control.InstancesLaunch, err error) {
	l = control.InstancesLaunch{
		Zone: in.Placement.AvailabilityZone, KeyPairName: in.KeyName, Options: launchOptions(in.MetadataOptions),
		EC2: &control.EC2Launch{Token: in.ClientToken},
	}
	if in.ClientToken != "" && !tokenForm.MatchString(in.ClientToken) {
		return l, invalid("InvalidParameterValue", "Value (%.100s) for parameter ClientToken is invalid. It has at most 64 characters of ASCII", in.ClientToken)
	}
	if l.EC2.Count, err = count(*in.MinCount, *in.MaxCount); err != nil {
		return l, err
	}
	if *in.MinCount != l.EC2.Count {
		l.EC2.Fewest = *in.MinCount
	}
	blueprint, err := c.imageOf(in.ImageID)
	if err != nil {
		return l, err
	}
	l.BlueprintID = blueprint.ID
	if in.InstanceType != "" {
		bundle, ok := bundleOf(c.service.Region(), in.InstanceType, blueprint.Platform)
		if !ok {
			return l, invalid("InvalidParameterValue", "Invalid value '%.100s' for InstanceType.", in.InstanceType)
		}
		l.BundleID = bundle.ID
	}
	if l.UserData, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(in.UserData)), "")); err != nil {
		return l, invalid("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
	}
	if l.Tags, err = tagsFor("instance", in.TagSpecifications); err != nil {
		return l, err
	}
	l.EC2.RoleName, err = profileName(in.IAMInstanceProfile)
	return l, err
}

// count is how many instances are launched: as many as there may be, down to the fewest that will do.
func count(least, most int) (int, error) {
	switch {
	case least < 1 || most < least:
		return 0, invalid("InvalidParameterValue", "The values (%d, %d) for MinCount and MaxCount are invalid: MinCount is at least 1, and MaxCount not below it", least, most)
	case least > control.MaxLaunch:
		return 0, invalid("InstanceLimitExceeded", "You have requested more instances (%d) than can be launched at once (%d)", least, control.MaxLaunch)
	}
	return min(most, control.MaxLaunch), nil
}

func (c *call) imageOf(id string) (openimds.Blueprint, error) {
	if id == "" {
		return openimds.Blueprint{}, invalid("MissingParameter", "The request must contain the parameter ImageId")
	}
	if !imageIDForm.MatchString(id) {
		return openimds.Blueprint{}, invalid("InvalidAMIID.Malformed", `Invalid id: "%.100s" (expecting "ami-...")`, id)
	}
	blueprint, ok := c.images[id]
	if !ok {
		return blueprint, invalid("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
	}
	return blueprint, nil
}

// bundleOf finds the bundle that stands on an instance type, with public IPv4.
func bundleOf(region, ec2Type, platform string) (openimds.Bundle, bool) {
	for _, b := range openimds.Bundles(region) {
		if b.EC2Type == ec2Type && b.Platform == platform && b.Active && !b.IPv6Only {
			return b, true
		}
	}
	return openimds.Bundle{}, false
}

func profileName(p wire.InstanceProfile) (string, error) {
	switch {
	case p.ARN != "" && p.Name != "":
		return "", invalid("InvalidParameterCombination", "The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'")
	case p.ARN == "":
		return p.Name, nil
	}
	found := profileForm.FindStringSubmatch(p.ARN)
	if found == nil {
		return "", invalid("InvalidParameterValue", "Value (%.200s) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance Profile ARN", p.ARN)
	}
	return found[1], nil
}
