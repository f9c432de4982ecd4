package control

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/openimds/openimds"
)

// sharedClaims says, by instance, what its guest has that the guest of another attachment has as well: a MAC or a
// private address. Networks that do not meet may use the same ones, so it is no fault, but it is told.
func sharedClaims(all []*openimds.Attachment) map[string]string {
	owners := map[string][]string{} // of what is claimed
	for _, a := range all {
		for claim := range claimsOf(a) {
			owners[claim] = append(owners[claim], a.Instance)
		}
	}
	type shared struct{ with, claim string }
	found := map[string][]shared{}
	for claim, who := range owners {
		for i, name := range who {
			if len(who) > 1 {
				found[name] = append(found[name], shared{who[(i+1)%len(who)], claim})
			}
		}
	}
	texts := make(map[string]string, len(found))
	for name, with := range found {
		slices.SortFunc(with, func(a, b shared) int { return cmp.Or(cmp.Compare(a.with, b.with), cmp.Compare(a.claim, b.claim)) })
		var parts []string
		for _, s := range with[:min(len(with), maxSharedTold)] {
			parts = append(parts, fmt.Sprintf("the guest of %s has the %s too", s.with, s.claim))
		}
		if more := len(with) - maxSharedTold; more > 0 {
			parts = append(parts, fmt.Sprintf("and %d more", more))
		}
		texts[name] = strings.Join(parts, "; ")
	}
	return texts
}

// maxSharedTold is how many of an instance's are told by name.
const maxSharedTold = 3

// claimsOf is what only one guest of a network can have.
func claimsOf(a *openimds.Attachment) map[string]bool {
	claims := map[string]bool{}
	for _, l := range a.Links() {
		if l.MAC != "" {
			claims["MAC address "+l.MAC] = true
		}
		for _, p := range l.Addresses {
			claims["private address "+p.Addr().String()] = true
		}
	}
	return claims
}
