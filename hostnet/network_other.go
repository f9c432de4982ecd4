//go:build !linux

package hostnet

import (
	"context"
	"fmt"
)

// ErrNeedsLinux is what every call ends with on other systems.
var ErrNeedsLinux = fmt.Errorf("%w: that needs Linux; callers on this machine reach the service through --imds-listen", ErrUnable)

// Network needs Linux.
type Network struct{}

// New fails.
func New(cfg Config) (*Network, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return nil, ErrNeedsLinux
}

// Missing is empty.
func (*Network) Missing() []string { return nil }

// Set fails.
func (*Network) Set([]Endpoint) error { return ErrNeedsLinux }

// Status is empty.
func (*Network) Status() []EndpointStatus { return nil }

// Run fails.
func (*Network) Run(context.Context) error { return ErrNeedsLinux }

// Sweep fails.
func (*Network) Sweep() error { return ErrNeedsLinux }

// Guarded is empty.
func (*Network) Guarded() []Guarded { return nil }

// Release fails.
func (*Network) Release(...string) ([]Guarded, error) { return nil, ErrNeedsLinux }

// Blocked is nil.
func (*Network) Blocked() error { return nil }

// Close does nothing.
func (*Network) Close() error { return nil }
