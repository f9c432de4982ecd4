package metadata_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/openimds/openimds/metadata"
)

// forms are the rows of the table as patterns of paths.
func forms() map[*regexp.Regexp]metadata.Category {
	m := map[*regexp.Regexp]metadata.Category{}
	for _, c := range metadata.Categories() {
		form := regexp.MustCompile(`\\\{[^}]*\\\}`).ReplaceAllString(regexp.QuoteMeta(c.Path), `[^/]+`)
		m[regexp.MustCompile("^"+form+"$")] = c
	}
	return m
}

// categoryOf finds the row that a path below the version belongs to.
func categoryOf(t testing.TB, path string) metadata.Category {
	t.Helper()
	for form, c := range forms() {
		if form.MatchString(path) {
			return c
		}
	}
	t.Fatalf("%s is in no row of the table", path)
	return metadata.Category{}
}

// What every version promises to every guest: what is listed answers, what answers is listed, and
// nothing is newer than the version.
func TestEveryVersionAgreesWithItself(t *testing.T) {
	const unlisted = "dynamic/fws/instance-monitoring"
	all := map[string]string{unlisted: "", "user-data": ""} // every path, and the version that shows it
	for _, f := range fixtures() {
		for path := range leaves(crawl(t, f.view, "latest")) {
			all[path] = ""
		}
	}
	for path := range all {
		all[path] = categoryOf(t, path).VisibleSince
	}
	for _, f := range fixtures() {
		latest := leaves(crawl(t, f.view, "latest"))
		for _, version := range metadata.Versions() {
			places := crawl(t, f.view, version)
			here := leaves(places)
			for _, p := range places {
				if p.dir && strings.HasSuffix(string(p.item.Body), "\n") != strings.Contains(p.path, "/dynamic") {
					t.Errorf("%s: the listing of %s ends in %q", f.name, p.path, p.item.Body[len(p.item.Body)-1:])
				}
				if p.item.Modified.After(f.view.Now) || p.item.Modified.IsZero() {
					t.Errorf("%s: %s was modified at %v", f.name, p.path, p.item.Modified)
				}
				if p.dir {
					continue
				}
				for _, below := range []string{"/x", "/x/y", "/" + p.path} {
					if _, ok := metadata.Get(f.view, p.path+below); ok {
						t.Errorf("%s: %s%s answers below a leaf", f.name, p.path, below)
					}
				}
			}
			for path, since := range all {
				visible := since <= version
				_, inLatest := latest[path]
				_, inVersion := here[path]
				if want := inLatest && visible; inVersion != want {
					t.Errorf("%s: %s/%s is listed: %v, want %v", f.name, version, path, inVersion, want)
				}
				item, answers := metadata.Get(f.view, version+"/"+path)
				if want := inVersion || path == unlisted && visible; answers != want {
					t.Errorf("%s: %s/%s answers: %v, want %v", f.name, version, path, answers, want)
				}
				if inVersion && string(item.Body) != string(latest[path]) {
					t.Errorf("%s: %s/%s = %q, latest has %q", f.name, version, path, item.Body, latest[path])
				}
			}
		}
	}
}

func TestEveryRowIsReachable(t *testing.T) {
	found := map[string]bool{"dynamic/fws/instance-monitoring": true}
	for _, f := range fixtures() {
		for path := range leaves(crawl(t, f.view, "latest")) {
			found[path] = true
		}
	}
	for form, c := range forms() {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(found)), form.MatchString) {
			t.Errorf("no instance shows %s", c.Path)
		}
	}
}

// What the guide's table says of versions, for the rows where a mistake is easy.
func TestSince(t *testing.T) {
	want := map[string]string{
		"meta-data/ami-id": "1.0 1.0", "meta-data/public-ipv4": "2007-01-19 2007-01-19",
		"meta-data/product-codes": "2007-03-01 2007-03-01", "meta-data/ramdisk-id": "2007-10-10 2007-10-10",
		"meta-data/spot/instance-action":           "2016-11-15 2018-03-28",
		"meta-data/spot/termination-time":          "2014-11-05 2014-11-05",
		"meta-data/identity-credentials/ec2/info":  "2018-05-23 2018-08-17",
		"meta-data/placement/region":               "2020-08-24 2020-10-27",
		macPath + "network-card":                   "2020-11-01 2021-01-03",
		macPath + "ipv6s":                          "2016-06-30 2016-06-30",
		"meta-data/tags/instance/{key}":            "2021-03-23 2021-03-23",
		"meta-data/system":                         "2022-09-24 2022-09-24",
		"meta-data/services/partition":             "2015-10-20 2015-10-20",
		"dynamic/instance-identity/document":       "2009-04-04 2009-04-04",
		"meta-data/events/maintenance/scheduled":   "2018-08-17 2018-08-17",
		"meta-data/block-device-mapping/{device}":  "2007-12-15 2007-12-15",
		"meta-data/placement/availability-zone-id": "2019-10-01 2019-10-01",
	}
	var paths []string
	for _, c := range metadata.Categories() {
		paths = append(paths, c.Path)
		if w, ok := want[c.Path]; ok && c.Since+" "+c.VisibleSince != w {
			t.Errorf("%s: since %s, visible since %s, want %s", c.Path, c.Since, c.VisibleSince, w)
		}
		delete(want, c.Path)
		if c.Doc == "" || !strings.HasSuffix(c.Doc, ".") || strings.HasSuffix(c.When, ".") {
			t.Errorf("%s: Doc must be a sentence and When a clause: %q, %q", c.Path, c.Doc, c.When)
		}
	}
	if len(want) > 0 {
		t.Errorf("no such rows: %v", want)
	}
	if !slices.IsSorted(paths) {
		t.Error("Categories() is not in the order of paths")
	}
}

const macPath = "meta-data/network/interfaces/macs/{mac}/"
