package ec2

import (
	"context"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/ec2/wire"
)

func (c *call) allKeyPairs(ctx context.Context) (all []*openimds.KeyPair, err error) {
	for after := ""; ; {
		some, next, err := c.service.KeyPairs(ctx, true, after, scan)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if after = next; next == "" {
			return all, nil
		}
	}
}

// keyTypeOf is EC2's word for the algorithm; ecdsa is none of EC2's, and said all the same.
func keyTypeOf(pair *openimds.KeyPair) string {
	algorithm, _, _ := strings.Cut(pair.PublicKey, " ")
	switch {
	case algorithm == "ssh-rsa":
		return "rsa"
	case algorithm == "ssh-ed25519":
		return "ed25519"
	}
	return "ecdsa"
}

func keyPairAttributes(pair *openimds.KeyPair, filter string) ([]string, bool) {
	if pair == nil {
		pair = &openimds.KeyPair{UUID: "00000000-0000-0000-0000-000000000000"}
	}
	switch filter {
	case "key-name":
		return one(pair.Name), true
	case "key-pair-id":
		return one(keyPairID(pair)), true
	case "fingerprint":
		return one(pair.Fingerprint), true
	case "tag-value":
		return nil, false
	}
	return ofTags(pair.Tags, filter)
}

func (c *call) describeKeyPairs(ctx context.Context, in *wire.DescribeKeyPairsRequest) (wire.DescribeKeyPairsResult, error) {
	result := wire.DescribeKeyPairsResult{Keys: []wire.KeyPair{}}
	filters, err := readFilters(in.Filters, keyPairAttributes)
	if err != nil {
		return result, err
	}
	pairs, err := c.allKeyPairs(ctx)
	if err != nil {
		return result, err
	}
	asked := map[string]bool{} // and found?
	for _, name := range in.KeyNames {
		asked[name] = false
	}
	for _, id := range in.KeyPairIDs {
		asked[id] = false
	}
	for _, pair := range pairs {
		_, byName := asked[pair.Name]
		_, byID := asked[keyPairID(pair)]
		if len(asked) > 0 && !byName && !byID {
			continue
		}
		if byName {
			asked[pair.Name] = true
		}
		if byID {
			asked[keyPairID(pair)] = true
		}
		if matches, err := filters.match(ctx, pair); err != nil {
			return result, err
		} else if !matches {
			continue
		}
		shown := wire.KeyPair{
			KeyPairID: keyPairID(pair), KeyName: pair.Name, KeyFingerprint: pair.Fingerprint, KeyType: keyTypeOf(pair),
			CreateTime: pair.CreatedAt, TagSet: showTags(pair.Tags),
		}
		if in.IncludePublicKey {
			shown.PublicKey = pair.PublicKey
		}
		result.Keys = append(result.Keys, shown)
	}
	for _, wanted := range append(append([]string{}, in.KeyNames...), in.KeyPairIDs...) {
		if !asked[wanted] {
			return result, invalid("InvalidKeyPair.NotFound", "The key pair '%.255s' does not exist", wanted)
		}
	}
	return result, nil
}

func (c *call) importKeyPair(ctx context.Context, in *wire.ImportKeyPairRequest) (wire.ImportKeyPairResult, error) {
	tags, err := tagsFor("key-pair", in.TagSpecifications)
	if err != nil {
		return wire.ImportKeyPairResult{}, err
	}
	pair, err := c.service.AddPublicKey(ctx, in.KeyName, string(in.PublicKeyMaterial), tags)
	if err != nil {
		return wire.ImportKeyPairResult{}, err
	}
	return wire.ImportKeyPairResult{
		KeyPairID: keyPairID(pair), KeyName: pair.Name, KeyFingerprint: pair.Fingerprint, TagSet: showTags(pair.Tags),
	}, nil
}
