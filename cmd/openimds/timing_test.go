package main

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
	"github.com/openimds/openimds/accesskeys"
	"github.com/openimds/openimds/session"
	"github.com/openimds/openimds/sigv4"
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
	for name, c := range map[string][2]func(){
		"session token, agreeing in nothing or in all but the last byte":      tokenGuesses(t),
		"signature, agreeing in nothing or in all but the last byte":          signatureGuesses(t),
		"access key, unknown or with a wrong secret (signature wrong anyway)": keyGuesses(t),
	} {
		apart := 0
		for range 3 {
			a, b := measure(pairs, c)
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

func tokenGuesses(t *testing.T) (both [2]func()) {
	sealer, err := session.NewSealer(bytes.Repeat([]byte("k"), session.KeySize), "i-0123456789abcdef0")
	must(t, err)
	now := time.Now()
	var scratch session.Scratch
	token := sealer.Append(nil, session.MaxTTL, now, &scratch)
	for i, from := range []int{4, 39} { // the first four bytes are the same in every token
		raw, err := base64.URLEncoding.DecodeString(string(token))
		must(t, err)
		for at := from; at < len(raw); at++ {
			raw[at] ^= 0x55
		}
		guess := []byte(base64.URLEncoding.EncodeToString(raw))
		both[i] = func() {
			if _, err := sealer.Open(guess, now, &scratch); err == nil {
				t.Error("a guess opens a session")
			}
		}
	}
	return both
}

const timingKey, timingSecret = "AKIAIOSFODNN7EXAMPLE", "a secret"

// signedRequest is one that the verifier knows all of, but for what change does to it.
func signedRequest(t *testing.T, key, secret string, change func(signature string) string) func() {
	now := time.Now()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:1339/", strings.NewReader("{}"))
	must(t, err)
	r.Header.Set("X-Amz-Target", targetLightsail+"GetInstances")
	const hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" // of {}
	must(t, v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: key, SecretAccessKey: secret}, r, hash, "lightsail", defaultRegion, now))
	head, signature, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
	r.Header.Set("Authorization", head+"Signature="+change(signature))
	verifier := sigv4.New(sigv4.Config{
		Regions: []string{defaultRegion}, Service: "lightsail", Now: func() time.Time { return now },
		Keys: func(id string) (accesskeys.Key, bool, error) {
			return accesskeys.Key{ID: id, Secret: timingSecret}, id == timingKey, nil
		},
	})
	return func() {
		if _, err := verifier.Verify(r, []byte("{}")); err == nil {
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
