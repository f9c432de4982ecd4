// Package clients has no code, only tests: software as its users have it (AWS's SDKs, the AWS CLI,
// cloud-init, curl) talks to the real openimds program. What a machine does not have is skipped
// with a line that says so.
//
// It is a module of its own so that openimds does not depend on its clients.
package clients
