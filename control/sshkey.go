package control

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"strings"

	"github.com/openimds/openimds"
)

// sshKey is a public key in the wire form of SSH (RFC 4253, section 6.6; RFC 5656; RFC 8709).
type sshKey struct {
	algorithm string
	blob      []byte
	rsa       *rsa.PublicKey // of RSA keys, for the fingerprint
}

// line is the key as authorized_keys has it. The comment is ours: what an imported line ends with
// never reaches a guest.
func (k sshKey) line(comment string) string {
	return k.algorithm + " " + base64.StdEncoding.EncodeToString(k.blob) + " " + comment
}

// fingerprint follows the EC2 user guide, "Verify the fingerprint of your key pair": MD5 of the
// public key for an imported RSA key, SHA-256 in OpenSSH's form for the others.
func (k sshKey) fingerprint() string {
	if k.rsa != nil {
		if der, err := x509.MarshalPKIXPublicKey(k.rsa); err == nil {
			sum := md5.Sum(der) //nolint:gosec // see the import
			return colons(sum[:])
		}
	}
	sum := sha256.Sum256(k.blob)
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

func rsaPublicKey(key *rsa.PublicKey) sshKey {
	blob := sshString(nil, []byte("ssh-rsa"))
	blob = sshString(blob, sshInteger(big.NewInt(int64(key.E))))
	blob = sshString(blob, sshInteger(key.N))
	return sshKey{algorithm: "ssh-rsa", blob: blob, rsa: key}
}

// sshString appends a string with its length (RFC 4251, section 5).
func sshString(to, s []byte) []byte {
	to = binary.BigEndian.AppendUint32(to, uint32(len(s))) //nolint:gosec // keys are short
	return append(to, s...)
}

// sshInteger makes the bytes of a positive mpint: a leading zero keeps the sign bit clear.
func sshInteger(n *big.Int) []byte {
	b := n.Bytes()
	if len(b) > 0 && b[0]&0x80 != 0 {
		b = append([]byte{0}, b...)
	}
	return b
}

// maxPublicKey is far above the longest useful key; RSA of 16384 bits has some 2,800 characters.
const maxPublicKey = 16 << 10

// parsePublicKey reads one line of OpenSSH's form, or base64 of it. Options before the algorithm,
// a second line, and keys that no SSH server would take are refused.
func parsePublicKey(text string) (sshKey, error) {
	refuse := func(why string) (sshKey, error) {
		return sshKey{}, openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "%s is not a public key of OpenSSH's one-line form: %s", openimds.FieldPublicKey, why)
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
	name, rest, ok := cutSSHString(blob)
	if !ok || string(name) != fields[0] {
		return refuse("the key is not of the algorithm that the line begins with")
	}
	key := sshKey{algorithm: fields[0], blob: blob}
	if why := key.check(rest); why != "" {
		return refuse(why)
	}
	return key, nil
}

// check looks at the part of the key behind the algorithm's name, and says what is wrong with it.
func (k *sshKey) check(rest []byte) string {
	switch k.algorithm {
	case "ssh-rsa":
		e, rest, ok := cutSSHString(rest)
		n, rest, ok2 := cutSSHString(rest)
		if !ok || !ok2 || len(rest) > 0 || len(e) == 0 || len(e) > 4 || len(n) == 0 {
			return "the RSA key is damaged"
		}
		key := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		canonical := rsaPublicKey(key)
		if !bytes.Equal(canonical.blob, k.blob) || key.E < 3 || key.E%2 == 0 || key.N.Bit(0) == 0 {
			return "the RSA key is damaged"
		}
		if bits := key.N.BitLen(); bits < 1024 || bits > 16384 {
			return "an RSA key has 1024 to 16384 bits"
		}
		k.rsa = key
	case "ssh-ed25519":
		if point, rest, ok := cutSSHString(rest); !ok || len(rest) > 0 || len(point) != 32 {
			return "the Ed25519 key is damaged"
		}
	case "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521":
		curves := map[string]elliptic.Curve{"nistp256": elliptic.P256(), "nistp384": elliptic.P384(), "nistp521": elliptic.P521()}
		name, rest, ok := cutSSHString(rest)
		point, rest, ok2 := cutSSHString(rest)
		if !ok || !ok2 || len(rest) > 0 || "ecdsa-sha2-"+string(name) != k.algorithm {
			return "the ECDSA key is damaged"
		}
		if _, err := ecdsa.ParseUncompressedPublicKey(curves[string(name)], point); err != nil {
			return "the ECDSA key is not a point of its curve"
		}
	default:
		return "the algorithm must be ssh-rsa, ssh-ed25519 or ecdsa-sha2-nistp256, -384 or -521"
	}
	return ""
}

// cutSSHString takes one string with its length off the front.
func cutSSHString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}
