package main

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until it holds.
func eventually(holds func() bool) error {
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited in vain for %v", patience)
		}
	}
	return nil
}

// The prefixes of targets, for tests that name operations.
const (
	targetLightsail = "Lightsail_20161128."
	targetOpenIMDS  = "OpenIMDS_20261122."
)

// ask calls an operation by its name, with whatever JSON a test writes; out, unless nil, takes the answer.
func ask(ctx context.Context, c *client.Client, target string, in, out any) error {
	answer, err := client.Call(ctx, c, wire.Target[any, json.RawMessage]{Name: target, Changes: true}, in)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(answer, out)
}
