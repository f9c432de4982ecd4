//go:build !linux

package naming

import (
	"errors"
	"net"
	"os"
)

// NamespaceOf fails.
func NamespaceOf(*net.TCPListener) (*os.File, error) { return nil, errors.ErrUnsupported }

// Watch names nobody: only Linux is asked so far.
func (n *Namer) Watch(l net.Listener, _ Place) (watched net.Listener, stop func()) {
	return l, func() {}
}

func namespacesDiffer() error { return errors.ErrUnsupported }
