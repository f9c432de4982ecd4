package accesskeys

import (
	"reflect"
	"strings"
	"testing"
)

// FuzzParse reads whatever a person may write. What is accepted has keys that no AWS client reads in
// another way, and a key that is added and cut out again leaves the others as they were.
func FuzzParse(f *testing.F) {
	f.Add("[default]\naws_access_key_id = AKIA1\naws_secret_access_key = s\n")
	f.Add("# x\n[a]\r\nAWS_ACCESS_KEY_ID=AKIA1\r\naws_secret_access_key=s=\r\nopenimds_read_only=true\n\n[b]\nregion=x\n")
	f.Add("[a]\naws_access_key_id = AKIA1\n[b]\n")
	f.Add("[a]\ns3 =\n  x = 1\n\n\n[b]\naws_access_key_id = AKIA1\naws_secret_access_key = [s]\n# end")
	file := Open("credentials")
	f.Fuzz(func(t *testing.T, text string) {
		before, err := file.parse(text)
		if err != nil {
			if before != nil || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%d sections beside %q", len(before), err)
			}
			return
		}
		ids := map[string]bool{}
		for _, s := range before {
			if s.ID == "" {
				if s.Secret != "" || s.ReadOnly {
					t.Fatalf("a profile without an id has %+v", s.settings)
				}
				continue
			}
			if ids[s.ID] || s.Secret == "" || strings.ContainsAny(s.Secret+s.ID+s.Profile, " \t\r\n") {
				t.Fatalf("accepted the settings %q of %s", s.settings, s.Profile)
			}
			ids[s.ID] = true
			if value, has := s.settings[settingReadOnly]; s.ReadOnly != (value == "true") || has && value != "true" && value != "false" {
				t.Fatalf("the restriction %q became %t", value, s.ReadOnly)
			}
		}
		const profile = "added-by-the-test"
		more, err := file.parse(text + "\n\n" + newKey(profile, true).lines())
		if err != nil {
			return // the profile is there already
		}
		added := more[len(more)-1]
		if added.Profile != profile || !added.ReadOnly || len(more) != len(before)+1 {
			t.Fatalf("added was %v after %d sections", added.Key, len(before))
		}
		after, err := file.parse(added.cut(text + "\n\n" + added.lines()))
		if err != nil || len(after) != len(before) {
			t.Fatalf("%d sections of %d are left, %v", len(after), len(before), err)
		}
		for i := range after {
			if after[i].Key != before[i].Key || !reflect.DeepEqual(after[i].settings, before[i].settings) {
				t.Fatalf("section %d became another one", i)
			}
		}
		for i := range before { // and each of the old ones alone
			left, err := file.parse(before[i].cut(text))
			if err != nil || len(left) != len(before)-1 {
				t.Fatalf("without section %d there are %d of %d, %v", i, len(left), len(before), err)
			}
		}
	})
}
