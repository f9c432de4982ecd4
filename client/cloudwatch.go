package client

import (
	"context"
	"encoding/json"

	"github.com/openimds/openimds/api/cloudwatch/wire"
)

// CloudWatch is to CloudWatch's API what [Call] is to Lightsail's, with a client of [ServiceCloudWatch].
func CloudWatch[Q, R any](ctx context.Context, c *Client, target wire.Target[Q, R], in Q) (R, error) {
	var out R
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	return out, c.ask(ctx, message{ServiceCloudWatch, wire.Service + "." + target.Name, target.Changes, "application/x-amz-json-1.0", body}, json.Unmarshal, &out)
}
