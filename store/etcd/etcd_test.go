package etcd_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/etcd"
	"github.com/openimds/openimds/store/etcd/etcdtest"
	"github.com/openimds/openimds/store/storetest"
)

// patience is how long a test's cluster may take to answer: no test waits for it unless it fails.
const patience = 3 * time.Minute

func address(t testing.TB, text string) etcd.Address {
	t.Helper()
	a, err := etcd.ParseAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func open(t testing.TB, members, prefix string) *etcd.Store {
	t.Helper()
	s, err := etcd.Open(t.Context(), etcd.Config{Address: address(t, etcd.Scheme+members+prefix), Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestContract: the contract of all stores, each test below a prefix of its own, beside what others write.
func TestContract(t *testing.T) {
	c := etcdtest.Start(t, 1)
	var places atomic.Int32
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, c.Addresses(), fmt.Sprint("/test/", places.Add(1)))
	})
	storetest.RunDurable(t, func(t *testing.T) store.Store { return open(t, c.Addresses(), "/durable") })
}
