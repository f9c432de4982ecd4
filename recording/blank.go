package recording

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// keptKeys are the members of a document with credentials that are no secret.
var keptKeys = []string{"Code", "Message", "LastUpdated", "Type", "Expiration", "AccountId"}

// secretPlace is where credentials lie.
var secretPlace = regexp.MustCompile(`/security-credentials(-extended)?/`)

var textMember = regexp.MustCompile(`"([^"]*)"(\s*:\s*)"([^"]*)"`)

// holdsSecrets says whether what a path answers must not be kept as it is: credentials by their place,
// or anything that has a secret key in it.
func holdsSecrets(path string, body []byte, listing bool) bool {
	return !listing && secretPlace.MatchString(path) || bytes.Contains(bytes.ToLower(body), []byte("secretaccesskey"))
}

// blank puts worthless values of the same length in the place of all texts of a document that are not
// known to be harmless. What it cannot read to the last byte it drops: nothing of it is kept. The
// second result says whether there was anything to hide.
func blank(body []byte) ([]byte, bool) {
	var members map[string]any
	if bytes.ContainsRune(body, '\\') || json.Unmarshal(body, &members) != nil {
		return nil, true
	}
	texts := 0
	for _, value := range members {
		switch value.(type) {
		case string:
			texts++
		case map[string]any, []any:
			return nil, true
		}
	}
	found := textMember.FindAllSubmatch(body, -1)
	if len(found) != texts { // the same name twice, say
		return nil, true
	}
	hidden := false
	blanked := textMember.ReplaceAllFunc(body, func(member []byte) []byte {
		part := textMember.FindSubmatch(member)
		if slices.Contains(keptKeys, string(part[1])) {
			return member
		}
		hidden = true
		return slices.Concat([]byte(`"`), part[1], []byte(`"`), part[2], []byte(`"`), worthless(part[3]), []byte(`"`))
	})
	return blanked, hidden
}

// worthless is a value of the same length. The four letters that tell what kind of key it is stay.
func worthless(value []byte) []byte {
	const filling = "BLANKED"
	kind := 0
	if bytes.HasPrefix(value, []byte("ASIA")) || bytes.HasPrefix(value, []byte("AKIA")) {
		kind = 4
	}
	rest := len(value) - kind
	return append(bytes.Clone(value[:kind]), strings.Repeat(filling, rest/len(filling)+1)[:rest]...)
}
