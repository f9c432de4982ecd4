//go:build !linux

package trace

import "context"

// Run fails: only Linux tells who calls.
func Run(context.Context, Config) error { return ErrUnsupported }
