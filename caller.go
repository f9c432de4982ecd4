package openimds

import "strings"

// CallerProcess is the process of this host that a caller is, as an operator knows it. What stays empty does
// not exist or could not be found out.
type CallerProcess struct {
	Executable string `json:"executable,omitempty"`
	// Arguments are its command line, without what looks like a secret.
	Arguments []string `json:"arguments,omitempty"`
	// User is its effective user: the name, or the number where this machine has no name for it.
	User string `json:"user,omitempty"`
	// Unit is systemd's, and Container the container by the name that its engine gives it, else by its ID.
	Unit      string `json:"unit,omitempty"`
	Container string `json:"container,omitempty"`
	// Package is the name and version of the package that the executable is of.
	Package string `json:"package,omitempty"`
}

// Command is the command line on one line, or the executable where that is not known.
func (p CallerProcess) Command() string {
	if len(p.Arguments) == 0 {
		return p.Executable
	}
	return strings.Join(p.Arguments, " ")
}
