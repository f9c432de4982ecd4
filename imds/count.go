package imds

const (
	callOther call = iota
	callTokenIssued
	callTokenRefused
	callWithToken
	callNoToken
	callNoTokenRejected
	callNoTokenMissed
	callThrottled
)
