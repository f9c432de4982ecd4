//go:build !linux

package runner

import "github.com/openimds/openimds/sandbox"

func (r *Runner) openRemote() (home, error) { return nil, sandbox.ErrUnavailable }
