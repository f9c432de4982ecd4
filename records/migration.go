package records

import "fmt"

const (
	// MigrationPrefix leads how far plans of migrations are: its keys go on with a plan's id.
	MigrationPrefix = "migration/"
	// MigrationPartPrefix leads how far they are with their instances: its keys go on with a plan's id, a slash and the
	// number of a part.
	MigrationPartPrefix = "migration-part/"
)

// MigrationKey is where it stands how far the plan of that id is.
func MigrationKey(id string) string { return MigrationPrefix + id }

// MigrationParts leads the parts of a plan.
func MigrationParts(id string) string { return MigrationPartPrefix + id + "/" }

// MigrationPartKey is where a part of a plan stands; parts ascend.
func MigrationPartKey(id string, part int) string {
	return fmt.Sprintf("%s%05d", MigrationParts(id), part)
}
