package accesskeys_test

import (
	"testing"

	"github.com/openimds/openimds/api/accesskeys"
)

func profile(name, id string) string {
	return "[" + name + "]\naws_access_key_id = " + id + "\naws_secret_access_key = s3cret\n"
}

// What was made or revoked at two places at once is made and revoked, whoever comes first.
func TestMerge(t *testing.T) {
	a, b, c, d := profile("a", "AKIAA"), profile("b", "AKIAB"), profile("c", "AKIAC"), profile("d", "AKIAD")
	for name, row := range map[string]struct{ base, ours, theirs, want string }{
		"one is made at each":                 {a, a + "\n" + b, a + "\n" + c, a + "\n" + c + "\n" + b},
		"one is revoked here":                 {a + "\n" + b, a, a + "\n" + b + "\n" + c, a + "\n" + c},
		"one is revoked there":                {a + "\n" + b, a + "\n" + b + "\n" + c, a, a + "\n" + c},
		"the same is revoked":                 {a + "\n" + b, a, a, a},
		"a profile gets another key here":     {a, profile("a", "AKIAX"), a + "\n" + d, d + "\n" + profile("a", "AKIAX")},
		"comments of the other stay":          {a, a + "\n" + b, "# mine\n" + a, "# mine\n" + a + "\n" + b},
		"without a line's end at the end":     {a, a + "\n" + b, a[:len(a)-1], a + "\n" + b},
		"nothing was changed here":            {a, a, b, b},
		"revoked here, another key there":     {a + "\n" + b, a, a + "\n" + profile("b", "AKIAY"), a + "\n" + profile("b", "AKIAY")},
		"both give a profile a key of theirs": {a, a + "\n" + b, a + "\n" + profile("b", "AKIAZ"), a + "\n" + b},
	} {
		got, err := accesskeys.Merge([]byte(row.base), []byte(row.ours), []byte(row.theirs))
		if err != nil || string(got) != row.want && "\n"+string(got) != row.want && string(got) != "\n"+row.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, row.want)
		}
	}
	if _, err := accesskeys.Merge([]byte(a), []byte("nonsense"), []byte(a)); err == nil {
		t.Error("nonsense was merged")
	}
}
