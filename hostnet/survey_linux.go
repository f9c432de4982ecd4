package hostnet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Sweep finds out what an earlier process left: tables of the host, which it takes over, and namespaces
// that were attached, which stay guarded until they are attached again or released. The Host does not wait
// for it: it can run beside all else.
//
// Namespaces that belong to other users' user namespaces are not entered: those that were attached are
// known to whoever attached them, and the rest can be made by anybody, and as slow to read as he likes.
func (h *Network) Sweep() error {
	h.mu.Lock()
	err := h.take()
	if err == nil && !h.given {
		if err = h.links.list(); err == nil {
			h.given = true
			err = h.reconcile(nil)
		}
	}
	h.mu.Unlock()
	if err != nil {
		return err
	}
	var errs []error
	seen := map[inode]bool{h.visitor.id: true}
	for _, path := range namespacePaths() {
		ns, err := openPath(path)
		if err != nil {
			continue // it has gone, or is no namespace
		}
		if !seen[ns.id] && ownUserNamespace(ns.file) {
			seen[ns.id] = true
			if err := h.survey(ns, path); err != nil && !errors.Is(err, os.ErrPermission) {
				errs = append(errs, fmt.Errorf("namespace %s: %w", path, err))
			}
		}
		ns.close()
	}
	return errors.Join(errs...)
}

// survey takes note of a namespace in which an earlier process answered.
func (h *Network) survey(ns *namespace, path string) error {
	left := false
	err := h.visitor.in(ns.file, func() error {
		there, err := readClaim()
		left = there != nil && there.free(h.owner(), 0)
		return err
	})
	if err != nil || !left {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.seats {
		if s.at != nil && s.at.where.ns == ns.id {
			return nil
		}
	}
	h.left[ns.id] = path
	return nil
}

// ownUserNamespace says whether a namespace belongs to the user namespace of this process. One whose owner
// is not to be seen from here does not.
func ownUserNamespace(ns *os.File) bool {
	fd, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	var theirs, ours unix.Stat_t
	if unix.Fstat(fd, &theirs) != nil || unix.Stat("/proc/self/ns/user", &ours) != nil {
		return false
	}
	return theirs.Dev == ours.Dev && theirs.Ino == ours.Ino
}

// namespacePaths are the namespaces that have a name, and those of processes.
func namespacePaths() []string {
	named, _ := filepath.Glob(filepath.Join(ipNetns, "*"))
	seen := map[string]bool{}
	processes, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, p := range processes {
		if id, err := os.Readlink(p); err == nil && !seen[id] { // "net:[4026531840]"
			seen[id] = true
			named = append(named, p)
		}
	}
	return named
}
