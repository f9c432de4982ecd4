package accesskeys

import (
	"maps"
	"slices"
	"strings"
)

// Merge carries what was changed from base to ours over to theirs, key by key: what was made is there then, and what
// was revoked is not. All three are texts of credentials files; what theirs has beside keys stays.
func Merge(base, ours, theirs []byte) ([]byte, error) {
	var keys [3]map[string]Key // by profile
	for i, text := range [][]byte{base, ours, theirs} {
		profiles, err := (&File{path: "credentials file"}).parse(string(text))
		if err != nil {
			return nil, err
		}
		keys[i] = map[string]Key{}
		for _, p := range profiles {
			if p.ID != "" {
				keys[i][p.Profile] = p.Key
			}
		}
	}
	merged := string(theirs)
	drop := func(profile string) error {
		profiles, err := (&File{path: "credentials file"}).parse(merged)
		for _, p := range profiles {
			if p.Profile == profile {
				merged = p.cut(merged)
			}
		}
		return err
	}
	was, is, there := keys[0], keys[1], keys[2]
	for _, profile := range slices.Sorted(maps.Keys(was)) {
		key := was[profile]
		if is[profile] != key && there[profile] == key {
			if err := drop(profile); err != nil {
				return nil, err
			}
		}
	}
	for _, profile := range slices.Sorted(maps.Keys(is)) {
		key := is[profile]
		if was[profile] == key || there[profile] == key {
			continue
		}
		if err := drop(profile); err != nil {
			return nil, err
		}
		if merged = strings.TrimRight(merged, "\n"); merged != "" {
			merged += "\n\n"
		}
		merged += key.lines()
	}
	_, err := (&File{path: "credentials file"}).parse(merged)
	return []byte(merged), err
}
