// Package session seals and opens the tokens of IMDSv2 sessions.
//
// A session has no memory: its token says, under authenticated encryption, when it ends, and opens
// only with the key of the life of the instance that it was sealed for. So it survives a restart
// and a move to another host, costs nothing while it lives, and dies with the key.
package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"
)

// Limits of a session's length in seconds, both included (EC2 user guide, "Use the Instance
// Metadata Service").
const (
	MinTTL = 1
	MaxTTL = 21600
)

// KeySize is the length of a key in bytes: AES-256.
const KeySize = 32

// TokenSize is the length of a token in characters: 40 bytes in padded URL-safe base64.
const TokenSize = 56

// A token's bytes: the prefix that current instances show, a random nonce, the sealed expiry (Unix
// seconds), and GCM's tag of 128 bits.
const (
	prefixSize = 4
	nonceSize  = 12
	expirySize = 8
	tagSize    = 16
	rawSize    = prefixSize + nonceSize + expirySize + tagSize
)

const prefix = "\x01\x00\x04\x00"

// ErrInvalid says no more than that a token does not open a session: a guest that probes must not
// learn whether it was forged, foreign or late.
var ErrInvalid = errors.New("the token is not valid")

// encoding refuses padding bits that are not zero, so that a token has one spelling.
var encoding = base64.URLEncoding.Strict()

// Sealer seals and opens the tokens of one life of one instance. It is safe for use by many goroutines.
//
// Nonces are random, so one key is good for 2^32 tokens: at a thousand a second, 49 days without a
// pause. Beyond that a repeated nonce would let the guest, who alone has the tokens, lengthen its
// own sessions; it would gain nothing else.
type Sealer struct {
	key []byte
	// sealing is made of the key at the first use: most instances on a host do not ask for long.
	sealing atomic.Pointer[cipher.AEAD]
	// bound is authenticated with each token: the prefix and the instance's id.
	bound []byte
}

// NewSealer makes the sealer of the instance whose key has [KeySize] bytes. It keeps the key.
func NewSealer(key []byte, instanceID string) (*Sealer, error) {
	if len(key) != KeySize {
		return nil, errors.New("a session key has 32 bytes")
	}
	return &Sealer{key: key, bound: []byte(prefix + instanceID)}, nil
}

func (s *Sealer) aead() cipher.AEAD {
	if made := s.sealing.Load(); made != nil {
		return *made
	}
	block, err := aes.NewCipher(s.key)
	if err != nil {
		panic("session: " + err.Error()) // the key's size is right
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("session: " + err.Error()) // so is AES's block size
	}
	s.sealing.Store(&aead)
	return aead
}

// Scratch is working space for sealing and opening, so that neither allocates.
type Scratch struct {
	raw   [rawSize + 2]byte // base64 decodes in whole groups of three
	plain [expirySize]byte
}

// Append appends a token that opens for ttl seconds, counted from the whole second of now: as AWS's,
// it may end up to a second short of ttl, never late.
func (s *Sealer) Append(dst []byte, ttl int, now time.Time, w *Scratch) []byte {
	raw := append(w.raw[:0], prefix...)
	nonce := w.raw[prefixSize : prefixSize+nonceSize]
	_, _ = rand.Read(nonce) // never fails: the runtime ends the program instead
	binary.BigEndian.PutUint64(w.plain[:], uint64(now.Unix()+int64(ttl)))
	raw = s.aead().Seal(raw[:prefixSize+nonceSize], nonce, w.plain[:], s.bound)
	return encoding.AppendEncode(dst, raw)
}

// Open returns how many seconds a token has left, 1 to [MaxTTL], or [ErrInvalid].
func (s *Sealer) Open(token []byte, now time.Time, w *Scratch) (remaining int, err error) {
	// Before anything is decoded: the length, so that no input costs more than a token does.
	if len(token) != TokenSize {
		return 0, ErrInvalid
	}
	n, err := encoding.Decode(w.raw[:], token)
	// The decoder skips line breaks, so the length has to be checked on this side too.
	if err != nil || n != rawSize || string(w.raw[:prefixSize]) != prefix {
		return 0, ErrInvalid
	}
	nonce := w.raw[prefixSize : prefixSize+nonceSize]
	plain, err := s.aead().Open(w.plain[:0], nonce, w.raw[prefixSize+nonceSize:rawSize], s.bound)
	if err != nil {
		return 0, ErrInvalid
	}
	left := int64(binary.BigEndian.Uint64(plain)) - now.Unix()
	if left <= 0 {
		return 0, ErrInvalid
	}
	// More than the longest session is left only when the clock was set back; do not show that.
	return int(min(left, MaxTTL)), nil
}
