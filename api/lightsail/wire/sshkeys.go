package wire

// The operations.
var (
	SendSSHPublicKey = changes[SendSSHPublicKeyRequest, OperationResult](openIMDS + "SendSSHPublicKey")
)

// SendSSHPublicKeyRequest has a guest find a key for a user of its operating system, for a minute, as EC2 Instance
// Connect does. The operation's details are the end of it.
type SendSSHPublicKeyRequest struct {
	InstanceName string `json:"instanceName" check:"required"`
	OSUser       string `json:"instanceOSUser" check:"required"`
	// PublicKey is one line of authorized_keys, or base64 of it.
	PublicKey string `json:"publicKeyBase64" check:"required"`
}
