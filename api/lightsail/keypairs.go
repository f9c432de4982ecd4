package lightsail

import (
	"context"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

func (a *protocol) keyPair(pair *openimds.KeyPair) wire.KeyPair {
	return wire.KeyPair{
		Name: pair.Name, ARN: a.service.ARN(openimds.TypeKeyPair, pair.UUID), SupportCode: openimds.LightsailOwnerID + "/" + pair.Name,
		CreatedAt: awsjson.Epoch{Time: pair.CreatedAt}, Location: a.everywhere(), ResourceType: string(openimds.TypeKeyPair),
		Tags: showTags(pair.Tags), Fingerprint: pair.Fingerprint,
	}
}

func (a *protocol) createKeyPair(ctx context.Context, in *wire.CreateKeyPairRequest) (wire.CreateKeyPairResult, error) {
	pair, private, op, err := a.service.CreateKeyPair(ctx, in.KeyPairName, readTags(in.Tags))
	if err != nil {
		return wire.CreateKeyPairResult{}, err
	}
	return wire.CreateKeyPairResult{KeyPair: a.keyPair(pair), PublicKeyBase64: pair.PublicKey, PrivateKeyBase64: string(private), Operation: a.operation(op)}, nil
}

func (a *protocol) importKeyPair(ctx context.Context, in *wire.ImportKeyPairRequest) (wire.OperationResult, error) {
	return a.one(a.service.ImportKeyPair(ctx, in.KeyPairName, in.PublicKeyBase64))
}

func (a *protocol) getKeyPair(ctx context.Context, in *wire.GetKeyPairRequest) (wire.GetKeyPairResult, error) {
	pair, err := a.service.KeyPair(ctx, in.KeyPairName)
	if err != nil {
		return wire.GetKeyPairResult{}, err
	}
	return wire.GetKeyPairResult{KeyPair: a.keyPair(pair)}, nil
}

func (a *protocol) getKeyPairs(ctx context.Context, in *wire.GetKeyPairsRequest) (wire.GetKeyPairsResult, error) {
	list := a.list("GetKeyPairs")
	after, err := api.PagePlace(list, in.PageToken)
	if err != nil {
		return wire.GetKeyPairsResult{}, err
	}
	pairs, next, err := a.service.KeyPairs(ctx, in.IncludeDefaultKeyPair, after, pageSize)
	result := wire.GetKeyPairsResult{KeyPairs: []wire.KeyPair{}, NextPageToken: api.PageToken(list, next)}
	for _, pair := range pairs {
		result.KeyPairs = append(result.KeyPairs, a.keyPair(pair))
	}
	return result, err
}

func (a *protocol) deleteKeyPair(ctx context.Context, in *wire.DeleteKeyPairRequest) (wire.OperationResult, error) {
	return a.one(a.service.DeleteKeyPair(ctx, in.KeyPairName, in.ExpectedFingerprint))
}

func (a *protocol) downloadDefaultKeyPair(ctx context.Context, _ *wire.Nothing) (wire.DownloadDefaultKeyPairResult, error) {
	pair, err := a.service.DefaultKeyPair(ctx)
	if err != nil {
		return wire.DownloadDefaultKeyPairResult{}, err
	}
	return wire.DownloadDefaultKeyPairResult{PublicKeyBase64: pair.PublicKey, PrivateKeyBase64: string(pair.PrivateKey), CreatedAt: awsjson.Epoch{Time: pair.CreatedAt}}, nil
}
