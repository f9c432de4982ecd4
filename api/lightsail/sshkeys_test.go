package lightsail_test

import (
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// keySigner signs nothing.
type keySigner struct{}

func (keySigner) Prepare(time.Time) error { return nil }

func (keySigner) Sign(p openimds.PushedKey) (string, error) { return p.Key + "\n\n", nil }

func TestSendSSHPublicKey(t *testing.T) {
	const target = "OpenIMDS_20261122.SendSSHPublicKey"
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHWgsd+4qVBKGNwhDEHWMHaBaRNtTtvTRvHsr0gEVFAK"
	s := newServer(t)
	s.steps([]step{
		{target: target, body: `{"instanceName":"demo","instanceOSUser":"ubuntu","publicKeyBase64":"` + key + `"}`,
			want: `{"operation":{"operationType":"SendSSHPublicKey","resourceName":"demo","status":"Succeeded"}}`},
		{target: target, body: `{"instanceName":"demo","instanceOSUser":"../x","publicKeyBase64":"` + key + `"}`, exception: invalid, message: `"../x" cannot be the name of a user`},
		{target: target, body: `{"instanceName":"demo","instanceOSUser":"ubuntu","publicKeyBase64":"ssh-ed25519 AAAA"}`, exception: invalid, message: "publicKeyBase64 is not a public key of OpenSSH's one-line form"},
		{target: target, body: `{"instanceName":"demo","instanceOSUser":"ubuntu"}`, exception: invalid, message: "1 validation error detected: Value null at 'publicKeyBase64'"},
		{target: target, body: `{"instanceName":"nobody","instanceOSUser":"ubuntu","publicKeyBase64":"` + key + `"}`, exception: "NotFoundException", code: "DoesNotExist"},
	})
}
