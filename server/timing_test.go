package server

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/session"
)

// pairsEnv sets how many pairs TestConstantTime measures; a soak sets 100000.
const pairsEnv = "OPENIMDS_TEST_PAIRS"

// TestConstantTime measures whether the time of a refusal tells how near a guess came: a token or a
// signature that agrees in all but its end against one that agrees in nothing, and a key that is unknown
// against a wrong secret. It reports Welch's t of the quicker nine tenths. A machine at work makes any t,
// so only a difference that stays, in every round, and is a twentieth of the whole fails the test.
func TestConstantTime(t *testing.T) {
	pairs := 4000
	if n, err := strconv.Atoi(os.Getenv(pairsEnv)); err == nil {
		pairs = n
	}
	for name, guesses := range map[string]func(*testing.T) [2]func(){
		"two session tokens that agree in nothing, to compare with":          tokenGuesses(4, 4),
		"session token, its tag agreeing in nothing or in all but a byte":    tokenGuesses(tagFrom, 39),
		"signature, agreeing in nothing or in all but a digit":               signatureGuesses,
		"access key, unknown or known, with a signature of another's secret": keyGuesses,
	} {
		apart := 0
		for range 3 {
			a, b := measure(pairs, guesses(t))
			tValue, difference := welch(a, b)
			t.Logf("%s: t = %.2f, %.2f %% apart, %d pairs", name, tValue, 100*difference, pairs)
			if math.Abs(tValue) > 10 && math.Abs(difference) > 0.05 {
				apart++
			}
		}
		if apart == 3 {
			t.Errorf("%s: the time tells them apart", name)
		}
	}
}

// measure times both in pairs whose order is random.
func measure(pairs int, both [2]func()) (a, b []float64) {
	var times [2][]float64
	for range pairs {
		first := rand.IntN(2)
		for _, which := range []int{first, 1 - first} {
			start := time.Now()
			both[which]()
			times[which] = append(times[which], float64(time.Since(start)))
		}
	}
	return times[0], times[1]
}

// welch compares the quicker nine tenths of two samples: the rest is what else the machine did.
func welch(a, b []float64) (t, difference float64) {
	moments := func(s []float64) (mean, variance, n float64) {
		s = slices.Sorted(slices.Values(s))[:len(s)*9/10]
		for _, x := range s {
			mean += x / float64(len(s))
		}
		for _, x := range s {
			variance += (x - mean) * (x - mean) / float64(len(s)-1)
		}
		return mean, variance, float64(len(s))
	}
	ma, va, na := moments(a)
	mb, vb, nb := moments(b)
	return (ma - mb) / math.Sqrt(va/na+vb/nb), (ma - mb) / max(ma, mb)
}

// tagFrom is where a token's tag begins.
const tagFrom = 24

// tokenGuesses are wrong tokens of two kinds, each wrong from one of these bytes on. Those of a kind are
// alike but for their last byte: letters that vary take time of their own to decode.
func tokenGuesses(from ...int) func(*testing.T) [2]func() {
	return func(t *testing.T) (both [2]func()) {
		sealer, err := session.NewSealer(bytes.Repeat([]byte("k"), session.KeySize), "i-0123456789abcdef0")
		must(t, err)
		now := time.Now()
		var scratch session.Scratch
		real, err := base64.URLEncoding.DecodeString(string(sealer.Append(nil, session.MaxTTL, now, &scratch)))
		must(t, err)
		for i := range both {
			base := slices.Clone(real)
			for at := from[i]; at < len(base)-1; at++ {
				base[at] ^= byte(1 + rand.IntN(255))
			}
			guesses := make([][]byte, 128)
			for g := range guesses {
				raw := slices.Clone(base)
				raw[len(raw)-1] ^= byte(1 + rand.IntN(255))
				guesses[g] = []byte(base64.URLEncoding.EncodeToString(raw))
			}
			n := 0
			both[i] = func() {
				n++
				if _, err := sealer.Open(guesses[n%len(guesses)], now, &scratch); err == nil {
					t.Error("a guess opens a session")
				}
			}
		}
		return both
	}
}

const timingKey, timingSecret = "AKIAIOSFODNN7EXAMPLE", "a secret"

// signedRequest is one that the verifier knows all of, but for what change does to it.
func signedRequest(t *testing.T, key, secret string, change func(signature string) string) func() {
	now := time.Now()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:1339/", strings.NewReader("{}"))
	must(t, err)
	r.Header.Set("X-Amz-Target", targetLightsail+"GetInstances")
	const hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" // of {}
	must(t, v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: key, SecretAccessKey: secret}, r, hash, "lightsail", "us-east-1", now))
	head, signature, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
	r.Header.Set("Authorization", head+"Signature="+change(signature))
	verifier := sigv4.New(sigv4.Config{
		Regions: []string{"us-east-1"}, Now: func() time.Time { return now },
		Keys: func(id string) (accesskeys.Key, bool, error) {
			return accesskeys.Key{ID: id, Secret: timingSecret}, id == timingKey, nil
		},
	})
	return func() {
		if _, err := verifier.Verify(r, "lightsail", []byte("{}")); err == nil {
			t.Error("a guess signs a request")
		}
	}
}

// other is another hexadecimal digit.
func other(digit byte) string {
	return fmt.Sprintf("%x", (strings.IndexByte("0123456789abcdef", digit)+7)%16)
}

func signatureGuesses(t *testing.T) [2]func() {
	return [2]func(){
		signedRequest(t, timingKey, timingSecret, func(s string) string {
			var b strings.Builder
			for i := range len(s) {
				b.WriteString(other(s[i]))
			}
			return b.String()
		}),
		signedRequest(t, timingKey, timingSecret, func(s string) string { return s[:63] + other(s[63]) }),
	}
}

func keyGuesses(t *testing.T) [2]func() {
	same := func(s string) string { return s }
	return [2]func(){signedRequest(t, "AKIAIOSFODNN7UNKNOWN", "x", same), signedRequest(t, timingKey, "x", same)}
}
