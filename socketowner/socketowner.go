// Package socketowner tells whose a connection from this machine is: the user who owns the socket at
// its other end. TCP says nothing of users, but the kernel that holds both ends knows.
package socketowner

import "errors"

// ErrUnknown is of a connection whose other end is no open socket of this machine, or not of this
// network namespace.
var ErrUnknown = errors.New("the other end is no open socket of this network namespace")
