//go:build !linux

package main

import (
	"context"
	"sync"

	"github.com/openimds/openimds/sandbox"
)

func (*server) runHandover(context.Context, *sync.WaitGroup) {}

func openRemote(string, string, func(string)) (home, error) { return nil, sandbox.ErrUnavailable }
