package control

import (
	"bytes"
	"crypto/md5"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/openimds/openimds"
	"golang.org/x/crypto/ssh"
)

// keyLine is the key as authorized_keys has it. The comment is ours: what an imported line ends with
// never reaches a guest.
func keyLine(key ssh.PublicKey, comment string) string {
	return strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(key)), "\n") + " " + comment
}

// fingerprint follows the EC2 user guide, "Verify the fingerprint of your key pair": MD5 of the
// public key for an imported RSA key, SHA-256 in OpenSSH's form for the others.
func fingerprint(key ssh.PublicKey) string {
	if public := rsaKey(key); public != nil {
		if der, err := x509.MarshalPKIXPublicKey(public); err == nil {
			sum := md5.Sum(der) //nolint:gosec // see the import
			return colons(sum[:])
		}
	}
	sum := sha256.Sum256(key.Marshal())
	return base64.StdEncoding.EncodeToString(sum[:])
}

// privateFingerprint is the fingerprint of a pair that was made here: SHA-1 of the private key (same
// page).
func privateFingerprint(key *rsa.PrivateKey) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	sum := sha1.Sum(der) //nolint:gosec // see the import
	return colons(sum[:]), nil
}

func colons(b []byte) string {
	digits := hex.EncodeToString(b)
	var out []string
	for i := 0; i < len(digits); i += 2 {
		out = append(out, digits[i:i+2])
	}
	return strings.Join(out, ":")
}

// rsaKey is nil for a key of another kind.
func rsaKey(key ssh.PublicKey) *rsa.PublicKey {
	if key, ok := key.(ssh.CryptoPublicKey); ok {
		public, _ := key.CryptoPublicKey().(*rsa.PublicKey)
		return public
	}
	return nil
}

// damages has what is wrong with a key that cannot be read, by the algorithms that are taken.
var damages = map[string]string{
	ssh.KeyAlgoRSA:      "the RSA key is damaged",
	ssh.KeyAlgoED25519:  "the Ed25519 key is damaged",
	ssh.KeyAlgoECDSA256: "the ECDSA key is not a point of its curve",
	ssh.KeyAlgoECDSA384: "the ECDSA key is not a point of its curve",
	ssh.KeyAlgoECDSA521: "the ECDSA key is not a point of its curve",
}

// maxPublicKey is far above the longest useful key; RSA of 16384 bits has some 2,800 characters.
const maxPublicKey = 16 << 10

// parsePublicKey reads one line of OpenSSH's form, or base64 of it. Options before the algorithm,
// a second line, and keys that no SSH server would take are refused.
func parsePublicKey(text string) (ssh.PublicKey, error) {
	refuse := func(why string) (ssh.PublicKey, error) {
		return nil, openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "%s is not a public key of OpenSSH's one-line form: %s", openimds.FieldPublicKey, why)
	}
	text = strings.TrimSpace(text)
	if len(text) > maxPublicKey {
		return refuse("it is too long")
	}
	if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
		text = strings.TrimSpace(string(decoded))
	}
	if strings.ContainsAny(text, "\r\n\x00") {
		return refuse("it has more than one line")
	}
	fields := strings.Fields(text)
	if len(fields) < 2 {
		return refuse("it needs an algorithm and a key")
	}
	blob, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return refuse("the key is not base64")
	}
	damage, known := damages[fields[0]]
	if !known {
		return refuse("the algorithm must be ssh-rsa, ssh-ed25519 or ecdsa-sha2-nistp256, -384 or -521")
	}
	key, err := ssh.ParsePublicKey(blob)
	switch {
	case err != nil:
		return refuse(damage)
	case key.Type() != fields[0]:
		return refuse("the key is not of the algorithm that the line begins with")
	// One key has one form: what is compared or counted by its text must not come in a second one.
	case !bytes.Equal(key.Marshal(), blob):
		return refuse(damage)
	}
	if public := rsaKey(key); public != nil {
		if public.N.Sign() < 0 || public.N.Bit(0) == 0 {
			return refuse(damage)
		}
		if bits := public.N.BitLen(); bits < 1024 || bits > 16384 {
			return refuse("an RSA key has 1024 to 16384 bits")
		}
	}
	return key, nil
}
