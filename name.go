package openimds

import (
	"regexp"
)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,253}[A-Za-z0-9]$`)

// ValidateName refuses what Lightsail refuses as a resource's name.
func ValidateName(name string) error {
	if !nameForm.MatchString(name) {
		return Errorf(InvalidInput, Malformed, "%.300s is not a valid resource name. Resource names must be at least 2 characters long and contain only alphanumerics, -, _, and .", name)
	}
	return nil
}

// RoleNameForm is of the name of an IAM role.
var RoleNameForm = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{1,64}$`)
