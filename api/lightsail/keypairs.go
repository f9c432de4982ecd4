package lightsail

import (
	"context"

	"github.com/openimds/openimds"
)

// keyPair is how the API shows a key pair.
type keyPair struct {
	Name         string   `json:"name"`
	ARN          string   `json:"arn"`
	SupportCode  string   `json:"supportCode"`
	CreatedAt    epoch    `json:"createdAt"`
	Location     location `json:"location"`
	ResourceType string   `json:"resourceType"`
	Tags         []tag    `json:"tags"`
	Fingerprint  string   `json:"fingerprint"`
}

func (a *api) keyPair(pair *openimds.KeyPair) keyPair {
	return keyPair{
		Name: pair.Name, ARN: a.service.ARN(openimds.TypeKeyPair, pair.UUID), SupportCode: openimds.LightsailOwnerID + "/" + pair.Name,
		CreatedAt: epoch{pair.CreatedAt}, Location: a.everywhere(), ResourceType: string(openimds.TypeKeyPair),
		Tags: showTags(pair.Tags), Fingerprint: pair.Fingerprint,
	}
}

type createKeyPairRequest struct {
	KeyPairName string `json:"keyPairName" check:"required"`
	Tags        []tag  `json:"tags"`
}

// createKeyPairResult has both keys as they are: nothing is in base64 on the wire, whatever the names
// of the members say.
type createKeyPairResult struct {
	KeyPair          keyPair   `json:"keyPair"`
	PublicKeyBase64  string    `json:"publicKeyBase64"`
	PrivateKeyBase64 string    `json:"privateKeyBase64"`
	Operation        operation `json:"operation"`
}

func (a *api) createKeyPair(ctx context.Context, in *createKeyPairRequest) (createKeyPairResult, error) {
	pair, private, op, err := a.service.CreateKeyPair(ctx, in.KeyPairName, readTags(in.Tags))
	if err != nil {
		return createKeyPairResult{}, err
	}
	return createKeyPairResult{a.keyPair(pair), pair.PublicKey, string(private), a.operation(op)}, nil
}

type importKeyPairRequest struct {
	KeyPairName     string `json:"keyPairName" check:"required"`
	PublicKeyBase64 string `json:"publicKeyBase64" check:"required"`
}

func (a *api) importKeyPair(ctx context.Context, in *importKeyPairRequest) (operationResult, error) {
	return a.one(a.service.ImportKeyPair(ctx, in.KeyPairName, in.PublicKeyBase64))
}

type getKeyPairRequest struct {
	KeyPairName string `json:"keyPairName" check:"required"`
}

type getKeyPairResult struct {
	KeyPair keyPair `json:"keyPair"`
}

func (a *api) getKeyPair(ctx context.Context, in *getKeyPairRequest) (getKeyPairResult, error) {
	pair, err := a.service.KeyPair(ctx, in.KeyPairName)
	if err != nil {
		return getKeyPairResult{}, err
	}
	return getKeyPairResult{a.keyPair(pair)}, nil
}

type getKeyPairsRequest struct {
	PageToken             string `json:"pageToken"`
	IncludeDefaultKeyPair bool   `json:"includeDefaultKeyPair"`
}

type getKeyPairsResult struct {
	KeyPairs      []keyPair `json:"keyPairs"`
	NextPageToken string    `json:"nextPageToken,omitempty"`
}

func (a *api) getKeyPairs(ctx context.Context, in *getKeyPairsRequest) (getKeyPairsResult, error) {
	const list = "GetKeyPairs"
	after, err := pagePlace(list, in.PageToken)
	if err != nil {
		return getKeyPairsResult{}, err
	}
	pairs, next, err := a.service.KeyPairs(ctx, in.IncludeDefaultKeyPair, after, pageSize)
	result := getKeyPairsResult{KeyPairs: []keyPair{}, NextPageToken: pageToken(list, next)}
	for _, pair := range pairs {
		result.KeyPairs = append(result.KeyPairs, a.keyPair(pair))
	}
	return result, err
}

type deleteKeyPairRequest struct {
	KeyPairName         string `json:"keyPairName" check:"required"`
	ExpectedFingerprint string `json:"expectedFingerprint"`
}

func (a *api) deleteKeyPair(ctx context.Context, in *deleteKeyPairRequest) (operationResult, error) {
	return a.one(a.service.DeleteKeyPair(ctx, in.KeyPairName, in.ExpectedFingerprint))
}

// nothing is the request of what needs no words.
type nothing struct{}

type downloadDefaultKeyPairResult struct {
	PublicKeyBase64  string `json:"publicKeyBase64"`
	PrivateKeyBase64 string `json:"privateKeyBase64"`
	CreatedAt        epoch  `json:"createdAt"`
}

func (a *api) downloadDefaultKeyPair(ctx context.Context, _ *nothing) (downloadDefaultKeyPairResult, error) {
	pair, err := a.service.DefaultKeyPair(ctx)
	if err != nil {
		return downloadDefaultKeyPairResult{}, err
	}
	return downloadDefaultKeyPairResult{pair.PublicKey, string(pair.PrivateKey), epoch{pair.CreatedAt}}, nil
}
