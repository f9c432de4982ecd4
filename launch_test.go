package openimds_test

import (
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// Whatever is launched, the ids that are made up have the forms of AWS's.
func TestMadeIDs(t *testing.T) {
	const hex17 = `[0-9a-f]{17}$`
	type ids = map[string]string
	forms := ids{
		"instance": `^i-` + hex17, "reservation": `^r-` + hex17, "image": `^ami-` + hex17,
		"interface": `^eni-` + hex17, "subnet": `^subnet-` + hex17, "VPC": `^vpc-` + hex17, "security group": `^sg-` + hex17,
		"MAC": `^06(:[0-9a-f]{2}){5}$`, "UUID": `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`,
		"profile": `^AIPA[A-Z2-7]{17}$`, "profile's ARN": `^arn:aws:iam::[0-9]{12}:instance-profile/[\w+=,.@-]+$`,
	}
	of := func(in *openimds.Instance) ids {
		nic := in.NICs[0]
		return ids{
			"instance": in.ID, "reservation": in.ReservationID, "image": in.ImageID,
			"interface": nic.ID, "subnet": nic.SubnetID, "VPC": nic.VPCID, "security group": nic.SecurityGroupIDs[0],
			"MAC": nic.MAC, "UUID": in.UUID, "profile": in.Role.ProfileID, "profile's ARN": in.Role.ProfileARN,
		}
	}
	launch := func(region, blueprint, role string) ids {
		return of(openimds.NewInstance(openimds.Launch{Name: "web", Region: region, BlueprintID: blueprint, RoleName: &role}, time.Now()))
	}
	drawn := []string{"instance", "reservation", "interface", "MAC", "UUID"}
	seen := map[string]bool{}
	for _, region := range openimds.Regions() {
		for i, blueprint := range openimds.Blueprints() {
			role := fmt.Sprintf("role-%d", i)
			made, again := launch(region.Name, blueprint.ID, role), launch(region.Name, blueprint.ID, role)
			for what, form := range forms {
				if !regexp.MustCompile(form).MatchString(made[what]) {
					t.Fatalf("%s, %s: the %s is %q, which has not the form %s", region.Name, blueprint.ID, what, made[what], form)
				}
			}
			for _, what := range drawn {
				if seen[made[what]] || made[what] == again[what] {
					t.Fatalf("two have the %s %s", what, made[what])
				}
				seen[made[what]] = true
				again[what] = made[what]
			}
			// What several instances share is the same for each of them.
			if fmt.Sprint(again) != fmt.Sprint(made) {
				t.Fatalf("%v and %v", made, again)
			}
			if seen[made["profile"]] {
				t.Fatalf("two roles have the profile %s", made["profile"])
			}
			seen[made["profile"]] = true
		}
	}
}
