//go:build !linux

package server

import (
	"context"
	"sync"
)

func (*hosting) runHandover(context.Context, *sync.WaitGroup) {}
