//go:build !linux

package hostnet

import (
	"context"
	"fmt"
)

// ErrNeedsLinux is what every call ends with on other systems.
var ErrNeedsLinux = fmt.Errorf("%w: that needs Linux; callers on this machine reach the service through --imds-listen", ErrUnable)

// Host needs Linux.
type Host struct{}

// New fails.
func New(cfg Config) (*Host, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return nil, ErrNeedsLinux
}

// Missing is empty.
func (*Host) Missing() []string { return nil }

// Set fails.
func (*Host) Set([]Endpoint) error { return ErrNeedsLinux }

// Status is empty.
func (*Host) Status() []EndpointStatus { return nil }

// Run fails.
func (*Host) Run(context.Context) error { return ErrNeedsLinux }

// Sweep fails.
func (*Host) Sweep() error { return ErrNeedsLinux }

// Guarded is empty.
func (*Host) Guarded() []Guarded { return nil }

// Release fails.
func (*Host) Release(...string) ([]Guarded, error) { return nil, ErrNeedsLinux }

// Blocked is nil.
func (*Host) Blocked() error { return nil }

// Close does nothing.
func (*Host) Close() error { return nil }
