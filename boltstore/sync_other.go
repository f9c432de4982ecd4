//go:build !unix

package boltstore

// syncDir does nothing: elsewhere a directory cannot be synced, and its file system orders names itself.
func syncDir(string) error { return nil }
