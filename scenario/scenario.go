// Package scenario changes instances as a file says, through a client of the control API: it plays a timeline
// of announcements, and makes an instance answer what another metadata service or mock did.
package scenario
