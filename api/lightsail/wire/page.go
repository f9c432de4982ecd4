package wire

// A list that may be long is answered page by page: an answer that is not the last has a token, which
// asks for the next one. A token is opaque, and belongs to its list.
type (
	// Paged is the request of such a list.
	Paged[Q any] interface {
		// From is the request of the page that a token stands for; the empty one is the first.
		From(token string) Q
	}
	// Page is one answer of such a list.
	Page interface {
		// Next is the token of the page behind this one; empty: it is the last.
		Next() string
	}
)

// PageRequest is the request of a list that takes no other words.
type PageRequest struct {
	PageToken string `json:"pageToken,omitzero"`
}

// From is [Paged].
func (q PageRequest) From(token string) PageRequest {
	q.PageToken = token
	return q
}

// From is [Paged].
func (q GetInstancesRequest) From(token string) GetInstancesRequest {
	q.PageToken = token
	return q
}

// From is [Paged].
func (q GetOperationsForResourceRequest) From(token string) GetOperationsForResourceRequest {
	q.PageToken = token
	return q
}

// From is [Paged].
func (q GetKeyPairsRequest) From(token string) GetKeyPairsRequest {
	q.PageToken = token
	return q
}

// From is [Paged].
func (q GetAlarmsRequest) From(token string) GetAlarmsRequest {
	q.PageToken = token
	return q
}

// From is [Paged].
func (q CatalogueRequest) From(token string) CatalogueRequest {
	q.PageToken = token
	return q
}

// From is [Paged].
func (q GetCallersRequest) From(token string) GetCallersRequest {
	q.PageToken = token
	return q
}

// From is [Paged].
func (q GetMetadataCountsRequest) From(token string) GetMetadataCountsRequest {
	q.PageToken = token
	return q
}

// From is [Paged].
func (q SearchInstancesRequest) From(token string) SearchInstancesRequest {
	q.PageToken = token
	return q
}

// From is [Paged].
func (q GetAuditEntriesRequest) From(token string) GetAuditEntriesRequest {
	q.PageToken = token
	return q
}

// Next is [Page].
func (r GetAuditEntriesResult) Next() string { return r.NextPageToken }

// Next is [Page].
func (r SearchInstancesResult) Next() string { return r.NextPageToken }

// Next is [Page].
func (r GetInstancesResult) Next() string { return r.NextPageToken }

// Next is [Page].
func (r GetOperationsResult) Next() string { return r.NextPageToken }

// Next is [Page].
func (r GetStaticIPsResult) Next() string { return r.NextPageToken }

// Next is [Page].
func (r GetActiveNamesResult) Next() string { return r.NextPageToken }

// Next is [Page].
func (r GetKeyPairsResult) Next() string { return r.NextPageToken }

// Next is [Page].
func (r GetAlarmsResult) Next() string { return r.NextPageToken }

// Next is [Page].
func (r GetBlueprintsResult) Next() string { return r.NextPageToken }

// Next is [Page].
func (r GetBundlesResult) Next() string { return r.NextPageToken }

// Next is [Page].
func (r GetCallersResult) Next() string { return r.NextPageToken }

// Next is [Page].
func (r GetMetadataCountsResult) Next() string { return r.NextPageToken }
