//go:build !linux

package server

import (
	"context"
	"sync"
)

func (*Server) runHandover(context.Context, *sync.WaitGroup) {}
