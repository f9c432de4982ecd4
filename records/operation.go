package records

// OperationKey is where the operation of that id has its record.
func OperationKey(id string) string { return OperationPrefix + id }

// OperationOfKey is where an operation stands in the index of those on a resource.
func OperationOfKey(resource, id string) string { return OperationOfPrefix + resource + "/" + id }
