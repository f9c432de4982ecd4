package client

import (
	"context"

	"github.com/openimds/openimds/api/ec2/wire"
	"github.com/openimds/openimds/api/ec2query"
)

const mediaForm = "application/x-www-form-urlencoded; charset=utf-8"

// EC2 is to EC2's API what [Call] is to Lightsail's, with a client of [ServiceEC2].
func EC2[Q, R any](ctx context.Context, c *Client, target wire.Target[Q, R], in Q) (R, error) {
	var out R
	body := ec2query.Encode(target.Name, wire.Version, in)
	return out, c.ask(ctx, message{ServiceEC2, target.Name, target.Changes, mediaForm, body}, ec2query.Unmarshal, &out)
}
