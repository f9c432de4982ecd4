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
func sayRefusals(w io.Writer, all []wire.InstanceRefusal, unknown []wire.UnknownRefusals) error {
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
	return sayUnknownRefusals(w, unknown)
}

// sayUnknownRefusals says of which instances it is not known, or not all, in a line for each reason.
func sayUnknownRefusals(w io.Writer, unknown []wire.UnknownRefusals) error {
	var reasons []string
	of := map[string][]string{}
	for _, u := range unknown {
		if of[u.Reason] == nil {
			reasons = append(reasons, u.Reason)
		}
		of[u.Reason] = append(of[u.Reason], u.InstanceName)
	}
	for _, reason := range reasons {
		names := of[reason]
		text := names[0]
		if len(names) > 1 {
			text = fmt.Sprintf("%s and %d more", names[0], len(names)-1)
		}
		if err := say(w, "%s: what else was refused is unknown: %s\n", text, reason); err != nil {
			return err
		}
	}
	return nil
}
