//go:build !linux

package imds

var deferAccept control
