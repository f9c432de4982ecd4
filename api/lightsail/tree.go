package lightsail

import (
	"cmp"
	"context"
	"encoding/json"
	"unicode/utf8"

	"github.com/openimds/openimds/api/lightsail/wire"
)

func (a *protocol) getMetadataTree(ctx context.Context, in *wire.GetMetadataTreeRequest) (wire.GetMetadataTreeResult, error) {
	result := wire.GetMetadataTreeResult{Version: cmp.Or(in.Version, "latest"), Path: in.Path, Entries: []wire.MetadataTreeNode{}}
	tree, err := a.service.MetadataTree(ctx, in.InstanceName, result.Version, in.Path, in.Protocol != "v1", in.Reveal)
	if err != nil {
		return result, err
	}
	result.Status, result.Versions = tree.Status, tree.Versions
	for _, e := range tree.Entries {
		shown := wire.MetadataTreeNode{Path: e.Path, Kind: string(e.Kind), Doc: e.Doc}
		switch {
		case e.Value == nil:
		case utf8.Valid(e.Value):
			shown.Value = new(string(e.Value))
		default:
			shown.ValueBase64 = e.Value
		}
		result.Entries = append(result.Entries, shown)
	}
	return result, nil
}

// reveals says whether a request for a tree asks for its secrets. What is no such request does not succeed anyhow.
func reveals(body []byte) bool {
	var in wire.GetMetadataTreeRequest
	return json.Unmarshal(body, &in) != nil || in.Reveal
}
