package wire

// The operations.
var (
	TagResource    = changes[TagResourceRequest, OperationsResult](lightsail + "TagResource")
	UntagResource  = changes[UntagResourceRequest, OperationsResult](lightsail + "UntagResource")
	GetActiveNames = looks[PageRequest, GetActiveNamesResult](lightsail + "GetActiveNames")
)

// Tag is a tag in requests and answers; the service has the rules of keys and values. One that
// was given by its key alone is shown so, as Lightsail does.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value,omitzero"`
}

// TagResourceRequest adds tags, or changes those that have the keys.
type TagResourceRequest struct {
	ResourceName string `json:"resourceName" check:"required"`
	ResourceARN  ARN    `json:"resourceArn,omitzero"`
	Tags         []Tag  `json:"tags" check:"required"`
}

// UntagResourceRequest takes tags away; a key that is not there is passed over.
type UntagResourceRequest struct {
	ResourceName string   `json:"resourceName" check:"required"`
	ResourceARN  ARN      `json:"resourceArn,omitzero"`
	TagKeys      []string `json:"tagKeys" check:"required"`
}

// GetActiveNamesResult is a page of the names of all resources.
type GetActiveNamesResult struct {
	ActiveNames   []string `json:"activeNames"`
	NextPageToken string   `json:"nextPageToken,omitempty"`
}
