package control

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"slices"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
	"golang.org/x/crypto/ssh"
)

// KeyPair returns the key pair of that name.
//
// Errors: NotFound/DoesNotExist.
func (s *Service) KeyPair(ctx context.Context, name string) (*openimds.KeyPair, error) {
	pair, _, err := s.keyPair(ctx, name)
	return pair, err
}

// KeyPairs is to key pairs what [Service.Instances] is to instances; the default pair is left out
// unless asked for.
func (s *Service) KeyPairs(ctx context.Context, withDefault bool, after string, limit int) ([]*openimds.KeyPair, string, error) {
	pairs, next, err := list[*openimds.KeyPair](ctx, s.store, openimds.TypeKeyPair, after, limit)
	if !withDefault {
		pairs = slices.DeleteFunc(pairs, func(p *openimds.KeyPair) bool { return p.Name == openimds.DefaultKeyPairName })
	}
	return pairs, next, err
}

func (s *Service) keyPair(ctx context.Context, name string) (*openimds.KeyPair, store.Record, error) {
	return find[*openimds.KeyPair](ctx, s.store, openimds.TypeKeyPair, name)
}

// CreateKeyPair makes an RSA key pair and returns it with the private key in PEM, which is not kept:
// this is the only time that anybody sees it.
//
// Errors: InvalidInput/NameTaken; InvalidInput/OutOfRange, InvalidInput/TooLarge, InvalidInput/TooMany,
// InvalidInput/Duplicate and InvalidInput/Reserved for the tags; Unavailable/Unready where the key takes too long to make.
func (s *Service) CreateKeyPair(ctx context.Context, name string, tags []openimds.Tag) (*openimds.KeyPair, openimds.Secret, openimds.Operation, error) {
	if err := s.checkNewKeyPair(ctx, name); err != nil {
		return nil, nil, openimds.Operation{}, err
	}
	if err := checkTags(tags); err != nil {
		return nil, nil, openimds.Operation{}, err
	}
	pair, private, err := s.newKeyPair(ctx, name)
	if err != nil {
		return nil, nil, openimds.Operation{}, err
	}
	pair.Tags = tags
	op, err := s.addKeyPair(ctx, "CreateKeyPair", pair)
	if err != nil {
		return nil, nil, openimds.Operation{}, err
	}
	return pair, private, op, nil
}

// ImportKeyPair keeps a public key: the one line of OpenSSH's form, as it is or in base64.
//
// Errors: InvalidInput/NameTaken; InvalidInput/Malformed for what is no public key.
func (s *Service) ImportKeyPair(ctx context.Context, name, publicKey string) (openimds.Operation, error) {
	_, op, err := s.importKeyPair(ctx, name, publicKey, nil)
	return op, err
}

// AddPublicKey is [Service.ImportKeyPair] with tags, and returns the key pair.
//
// Errors: InvalidInput/NameTaken; InvalidInput/Malformed for what is no public key; InvalidInput/OutOfRange,
// InvalidInput/TooMany, InvalidInput/Duplicate and InvalidInput/Reserved for the tags.
func (s *Service) AddPublicKey(ctx context.Context, name, publicKey string, tags []openimds.Tag) (*openimds.KeyPair, error) {
	if err := checkTags(tags); err != nil {
		return nil, err
	}
	pair, _, err := s.importKeyPair(ctx, name, publicKey, tags)
	return pair, err
}

func (s *Service) importKeyPair(ctx context.Context, name, publicKey string, tags []openimds.Tag) (*openimds.KeyPair, openimds.Operation, error) {
	if err := s.checkNewKeyPair(ctx, name); err != nil {
		return nil, openimds.Operation{}, err
	}
	key, err := parsePublicKey(publicKey)
	if err != nil {
		return nil, openimds.Operation{}, err
	}
	pair := &openimds.KeyPair{Name: name, UUID: openimds.NewUUID(), PublicKey: keyLine(key, name), Fingerprint: fingerprint(key), Tags: tags}
	op, err := s.addKeyPair(ctx, "ImportKeyPair", pair)
	return pair, op, err
}

// checkNewKeyPair refuses a name before a key is made in vain.
func (s *Service) checkNewKeyPair(ctx context.Context, name string) error {
	if err := openimds.ValidateName(name); err != nil {
		return err
	}
	if name == openimds.DefaultKeyPairName {
		return nameExists([]string{name})
	}
	return s.refuseTaken(ctx, name)
}

func (s *Service) addKeyPair(ctx context.Context, what string, pair *openimds.KeyPair) (openimds.Operation, error) {
	d, err := s.commit(ctx, what, func(d *draft) error {
		if err := s.refuseTaken(ctx, pair.Name); err != nil {
			return err
		}
		pair.CreatedAt = d.now
		d.create(openimds.TypeKeyPair, pair.Name, pair)
		d.operation(keyPairOperation(what, pair))
		return nil
	})
	if err != nil {
		return openimds.Operation{}, err
	}
	return d.operations[0], nil
}

// DeleteKeyPair forgets a key pair. Instances keep the key that they were created with. The default
// pair goes only with its fingerprint; another one may be given it.
//
// Errors: InvalidInput/Incomplete for the default pair without its fingerprint, InvalidInput/Mismatch for another
// fingerprint; NotFound/DoesNotExist.
func (s *Service) DeleteKeyPair(ctx context.Context, name, fingerprint string) (openimds.Operation, error) {
	d, err := s.commit(ctx, "DeleteKeyPair", func(d *draft) error {
		pair, was, err := s.keyPair(ctx, name)
		if err != nil {
			return err
		}
		if fingerprint == "" && name == openimds.DefaultKeyPairName {
			return openimds.Errorf(openimds.InvalidInput, openimds.Incomplete, "To delete the default key pair, give its fingerprint as %s", openimds.FieldFingerprint)
		}
		if fingerprint != "" && fingerprint != pair.Fingerprint {
			return openimds.Errorf(openimds.InvalidInput, openimds.Mismatch, "The key pair %s has another fingerprint than %s", name, openimds.FieldFingerprint)
		}
		d.destroy(openimds.TypeKeyPair, was)
		d.operation(keyPairOperation("DeleteKeyPair", pair))
		return nil
	})
	if err != nil {
		return openimds.Operation{}, err
	}
	return d.operations[0], nil
}

// DefaultKeyPair returns the default key pair with its private key, and makes it at first use.
//
// Errors: NotFound/DoesNotExist where somebody deletes it at the same moment; Unavailable/Unready where it takes too long
// to make.
func (s *Service) DefaultKeyPair(ctx context.Context) (*openimds.KeyPair, error) {
	pair, err := s.KeyPair(ctx, openimds.DefaultKeyPairName)
	if err == nil || openimds.KindOf(err) != openimds.NotFound {
		return pair, err
	}
	pair, private, err := s.newKeyPair(ctx, openimds.DefaultKeyPairName)
	if err != nil {
		return nil, err
	}
	pair.PrivateKey = private
	_, err = s.addKeyPair(ctx, "CreateKeyPair", pair)
	if openimds.CodeOf(err) == openimds.NameTaken {
		return s.KeyPair(ctx, openimds.DefaultKeyPairName) // somebody else was faster
	}
	if err != nil {
		return nil, err
	}
	return pair, nil
}

// Access returns an instance and the private key that opens it, if it has the default key pair; the
// private keys of others are not kept.
//
// Errors: NotFound/DoesNotExist.
func (s *Service) Access(ctx context.Context, name string) (*openimds.Instance, openimds.Secret, error) {
	in, err := s.Instance(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	pair, err := s.KeyPair(ctx, openimds.DefaultKeyPairName)
	if openimds.KindOf(err) == openimds.NotFound {
		return in, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	// A default pair that was deleted and made anew opens no instance from before.
	if !slices.Contains(in.PublicKeys, openimds.PublicKey{Name: pair.Name, Key: pair.PublicKey}) {
		return in, nil, nil
	}
	return in, pair.PrivateKey, nil
}

// launchKeys returns the keys of new instances, and names the default pair if Lightsail makes them and none was named.
func (s *Service) launchKeys(ctx context.Context, l *InstancesLaunch) ([]openimds.PublicKey, error) {
	var pair *openimds.KeyPair
	var err error
	if l.EC2 != nil && l.KeyPairName == "" {
		return nil, nil
	}
	if l.KeyPairName == "" || l.KeyPairName == openimds.DefaultKeyPairName {
		pair, err = s.DefaultKeyPair(ctx)
	} else {
		pair, err = s.KeyPair(ctx, l.KeyPairName)
	}
	if err != nil {
		return nil, err
	}
	l.KeyPairName = pair.Name
	return []openimds.PublicKey{{Name: pair.Name, Key: pair.PublicKey}}, nil
}

// newKeyPair makes an RSA key pair.
func (s *Service) newKeyPair(ctx context.Context, name string) (*openimds.KeyPair, openimds.Secret, error) {
	key, err := s.keys.take(ctx)
	if err != nil {
		return nil, nil, err
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	fingerprint, err := privateFingerprint(key)
	if err != nil {
		return nil, nil, broken(err)
	}
	public, err := ssh.NewPublicKey(&key.PublicKey)
	if err != nil {
		return nil, nil, broken(err)
	}
	pair := &openimds.KeyPair{Name: name, UUID: openimds.NewUUID(), PublicKey: keyLine(public, name), Fingerprint: fingerprint}
	return pair, private, nil
}

func keyPairOperation(what string, pair *openimds.KeyPair) openimds.Operation {
	return openimds.Operation{Type: what, Resource: pair.Name, ResourceType: openimds.TypeKeyPair}
}
