// Package socketowner tells whose a connection from this machine is: the user who owns the socket at
// its other end. TCP says nothing of users, but the kernel that holds both ends knows.
package socketowner

import "errors"

// Socket is the caller's end of a connection.
type Socket struct {
	// UID is the user who made it, Inode its number, by which processes have it open.
	UID   uint32
	Inode uint64
	// Answered says that the service has closed its end, as the metadata service does with each answer.
	Answered bool
}

// ErrUnknown is of a connection whose other end is no open socket of this machine, or not of this
// network namespace.
var ErrUnknown = errors.New("the other end is no open socket of this network namespace")
