package memstore_test

import (
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/memstore"
	"github.com/openimds/openimds/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) openimds.Store { return memstore.New() })
}
