// Package generated makes role credentials that open nothing, of the instance alone: no AWS service, file or
// clock of another has a part in them.
package generated

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/openimds/openimds"
)

// Source makes credentials that have the form of real ones and open nothing: they are derived
// from the instance's own key, and no AWS service knows them. They let software run that insists on
// finding credentials, and they are safe to leak.
//
// The same instance, set and hour give the same credentials after a restart and on every host,
// since nothing is kept. A start from stopped, which renews the instance's key, changes them.
type Source struct{}

// Times of the sets that EC2 hands out: a new one each Rotation, good for at least Lifetime and at most
// 9 minutes more.
const (
	Rotation = time.Hour
	Lifetime = 6*time.Hour + 14*time.Minute

	lifetimeSpread = 9 * 60 // seconds
)

// Labels keep what is derived here apart from all else that the instance's key is used for.
const (
	setLabel    = "openimds generated credentials v2"
	offsetLabel = "openimds generated credentials v1 offset"
)

// Lengths of the derived bytes: 16 base32 and 40 base64 characters, a token of about 900.
const (
	keyIDBytes  = 10
	secretBytes = 30
	tokenBytes  = 640
)

var tokenHead = []byte("\x21\x0a\x09origin_ec") // what the base64 of EC2's session tokens begins with

// Credentials derives the instance's set for the hour of now.
func (Source) Credentials(in *openimds.Instance, set openimds.CredentialSet, now time.Time) openimds.RoleCredentials {
	start, err := rotationStart(in, now)
	if err != nil {
		return failure(err, now)
	}
	info := make([]byte, 0, 128)
	info = append(info, setLabel...)
	info = append(info, 0, byte(set))
	info = binary.BigEndian.AppendUint64(info, uint64(start.Unix()))
	info = append(info, in.ID...)
	b, err := hkdf.Key(sha256.New, in.TokenKey, nil, string(info), keyIDBytes+secretBytes+tokenBytes+2)
	if err != nil {
		return failure(err, now)
	}
	keyID, b := b[:keyIDBytes], b[keyIDBytes:]
	secret, b := b[:secretBytes], b[secretBytes:]
	token, b := b[:tokenBytes], b[tokenBytes:]
	life := Lifetime + time.Duration(binary.BigEndian.Uint16(b)%(lifetimeSpread+1))*time.Second

	// The first set of a life is made at the launch, in the middle of an hour.
	updated := start
	if launched := in.LaunchedAt.Truncate(time.Second); launched.After(updated) && !launched.After(now) {
		updated = launched.UTC()
	}
	return openimds.RoleCredentials{
		Code:            openimds.CredentialsSuccess,
		Type:            "AWS-HMAC",
		AccountID:       in.OwnerID,
		AccessKeyID:     accessKeyID(in.OwnerID, keyID),
		SecretAccessKey: base64.StdEncoding.AppendEncode(nil, secret),
		Token:           sessionToken(in.Region, token),
		LastUpdated:     updated,
		Expiration:      updated.Add(life),
	}
}

// accessKeyID makes the id of a key of an account. As with AWS's, base32 of what follows the prefix has
// the first bit set and the account's number in the next 40, which tools read out of a key that they
// find; the rest tells the account's keys apart. What is no account number counts as 0.
func accessKeyID(account string, random []byte) string {
	number, err := strconv.ParseUint(account, 10, 40)
	if err != nil {
		number = 0
	}
	id := binary.BigEndian.AppendUint64(nil, 1<<63|number<<23|binary.BigEndian.Uint64(random)&(1<<23-1))
	return "ASIA" + base32.StdEncoding.EncodeToString(append(id, random[8:]...))
}

// rotationStart is when the instance's present set was made: once an hour, at a second of the hour
// that is the instance's own, so that the clients of a fleet do not all refresh at once.
func rotationStart(in *openimds.Instance, now time.Time) (time.Time, error) {
	b, err := hkdf.Key(sha256.New, in.TokenKey, nil, offsetLabel+"\x00"+in.ID, 4)
	if err != nil {
		return time.Time{}, err
	}
	const hour = int64(Rotation / time.Second)
	offset := int64(binary.BigEndian.Uint32(b)) % hour
	past := (now.Unix() - offset) % hour
	if past < 0 {
		past += hour
	}
	return time.Unix(now.Unix()-past, 0).UTC(), nil
}

// sessionToken dresses random bytes as one of EC2's tokens: its head, the region, and the beginning
// of an ECDSA signature come first.
func sessionToken(region string, random []byte) openimds.Secret {
	raw := make([]byte, 0, len(tokenHead)+len(region)+len(random)+16)
	raw = append(raw, tokenHead...)
	raw = append(raw, 0x10, random[0])
	raw = append(raw, 0x1a, byte(len(region)))
	raw = append(raw, region...)
	raw = append(raw, 0x22, 0x47, 0x30, 0x45, 0x02, 0x21, 0x00)
	raw = append(raw, random[1:]...)
	return base64.StdEncoding.AppendEncode(nil, raw)
}

// failure is what the guest reads when the derivation does not work, which takes a program built
// against a crypto module that refuses the key.
func failure(err error, now time.Time) openimds.RoleCredentials {
	return openimds.RoleCredentials{
		Code:        "InternalError",
		Message:     fmt.Sprintf("The credentials cannot be derived: %v", err),
		LastUpdated: now.UTC().Truncate(time.Second),
	}
}
