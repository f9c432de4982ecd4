package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/openimds/openimds/api/lightsail/wire"
)

// sayRefusals says in a line for each instance what was refused to its guest: callers, which tell who called, do not
// tell why, and of a connection that is closed unheard there is no caller. That a token was missing they have in a
// column.
func sayRefusals(w io.Writer, all []wire.InstanceRefusal) error {
	var order []string
	words := map[string][]string{}
	for _, r := range all {
		if r.Reason == "no-token" {
			continue
		}
		how := "closed"
		if r.Status != 0 {
			how = fmt.Sprint(r.Status, " ", http.StatusText(r.Status))
		}
		if words[r.InstanceName] == nil {
			order = append(order, r.InstanceName)
		}
		words[r.InstanceName] = append(words[r.InstanceName], fmt.Sprintf("%d for %s (%s)", r.Count, r.Reason, how))
	}
	for _, name := range order {
		if err := say(w, "%s: refused since it is served: %s; the reasons are in OPERATIONS.md\n", name, strings.Join(words[name], ", ")); err != nil {
			return err
		}
	}
	return nil
}
