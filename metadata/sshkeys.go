package metadata

import "time"

// KeySigner vouches for the SSH keys that were pushed to an instance. Each method returns what is served, or false
// where nothing can be. It must be safe for use by many goroutines, and waits for nothing.
type KeySigner interface {
	// SignerCert is the certificate of a region's signer with those behind it (PEM).
	SignerCert(region, domain string) ([]byte, bool)
	// SignerOCSP is the OCSP answer about that certificate, in base64, and the name under which it stands.
	SignerOCSP(region, domain string, now time.Time) (name string, answer []byte, ok bool)
}

// Domain is the domain of the AWS services of a region, as services/domain tells it.
func Domain(region string) string {
	_, domain := partitionOf(region)
	return domain
}

// firstActive is the place of a user's first key that has not expired; -1: there is none.
func firstActive(v *View, user string) int {
	for i := range v.Instance.ManagedKeys {
		if k := &v.Instance.ManagedKeys[i]; k.User == user && k.Active(v.Now) {
			return i
		}
	}
	return -1
}

// hasActiveKeys is the condition of what stands beside active-keys/.
func hasActiveKeys(v *View, _ args) bool {
	if v.Keys == nil {
		return false
	}
	for i := range v.Instance.ManagedKeys {
		if v.Instance.ManagedKeys[i].Active(v.Now) {
			return true
		}
	}
	return false
}

func signerCert(v *View) ([]byte, bool) {
	return v.Keys.SignerCert(v.Instance.Region, Domain(v.Instance.Region))
}

func signerOCSP(v *View) (name string, answer []byte, ok bool) {
	return v.Keys.SignerOCSP(v.Instance.Region, Domain(v.Instance.Region), v.Now)
}
