//go:build !linux

package sandbox

import (
	"context"
	"fmt"
	"net/netip"
	"os"
)

// Command needs Linux.
type Command struct{}

// Warden does nothing.
func Warden() {}

// Start fails.
func Start(Config) (*Command, error) {
	return nil, fmt.Errorf("%w: they need Linux; point the command's AWS clients at 'openimds serve' with 'openimds env'", ErrUnavailable)
}

// Signal fails.
func (*Command) Signal(os.Signal) error { return ErrUnavailable }

// Wait fails.
func (*Command) Wait(context.Context) (int, error) { return 0, ErrUnavailable }

// Caller knows nobody.
func (*Command) Caller(netip.AddrPort) (Process, bool) { return Process{}, false }

// Signals are none.
func Signals() []os.Signal { return nil }
