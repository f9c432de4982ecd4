package console_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// operationTime is how long an operation may take.
const operationTime = 20 * time.Second

// TestOperationTime: what a page asks for may take as long as what anybody else does.
func TestOperationTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := open(t, 1)
		p := f.page().signIn(keyID, secret)
		began := time.Now()
		if status := p.ask("POST", "api/GetInstances", "{}"); status != http.StatusOK {
			t.Fatalf("an operation is answered %d", status)
		}
		if allowed := f.until.Sub(began); allowed != operationTime {
			t.Errorf("it may take %s, want %s", allowed, operationTime)
		}
	})
}
