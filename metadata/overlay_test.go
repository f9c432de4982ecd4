package metadata_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
)

// overlay reads "path=value" and "path" (removed).
func overlay(entries ...string) map[string]*string {
	m := map[string]*string{}
	for _, e := range entries {
		path, value, ok := strings.Cut(e, "=")
		m[path] = nil
		if ok {
			m[path] = &value
		}
	}
	return m
}

func TestOverlay(t *testing.T) {
	const absent = "(absent)"
	for _, tt := range []struct {
		name    string
		overlay map[string]*string
		want    map[string]string // what to find, by path
	}{
		{"replaces a value at every version", overlay("meta-data/ami-id=ami-mine"), map[string]string{
			"1.0/meta-data/ami-id":        "ami-mine",
			"latest/meta-data/ami-id":     "ami-mine",
			"latest/meta-data/ami-id/x":   absent,
			"2021-03-23/meta-data/system": absent,
		}},
		{"shows a value before its version", overlay("meta-data/system=mine"), map[string]string{
			"1.0/meta-data/system": "mine",
			"1.0/meta-data":        "ami-id\nami-launch-index\nami-manifest-path\nhostname\ninstance-id\nlocal-ipv4\nreservation-id\nsecurity-groups\nsystem",
		}},
		{"adds a value and its directories", overlay("meta-data/a/b/c=", "meta-data/a/a=x"), map[string]string{
			"1.0/meta-data":            "a/\nami-id\nami-launch-index\nami-manifest-path\nhostname\ninstance-id\nlocal-ipv4\nreservation-id\nsecurity-groups",
			"latest/meta-data/a":       "a\nb/",
			"latest/meta-data/a/b":     "c",
			"latest/meta-data/a/b/c":   "",
			"latest/meta-data/a/b/c/d": absent,
		}},
		{"adds among names of the table", overlay("meta-data/placement/b=x", "meta-data/placement/zz=x"), map[string]string{
			"latest/meta-data/placement": "availability-zone\navailability-zone-id\nb\nregion\nzz",
		}},
		{"removes a value", overlay("meta-data/placement/region"), map[string]string{
			"latest/meta-data/placement":        "availability-zone\navailability-zone-id",
			"latest/meta-data/placement/region": absent,
		}},
		{"removes a directory with its values", overlay("meta-data/placement/region", "meta-data/placement/availability-zone", "meta-data/placement/availability-zone-id", "meta-data/services"), map[string]string{
			"latest/meta-data/placement":          absent,
			"latest/meta-data/services":           absent,
			"latest/meta-data/services/partition": absent,
			"latest/meta-data": "ami-id\nami-launch-index\nami-manifest-path\nblock-device-mapping/\nevents/\nhostname\niam/\nidentity-credentials/\n" +
				"instance-action\ninstance-id\ninstance-life-cycle\ninstance-type\nipv6\nlocal-hostname\nlocal-ipv4\nmac\nmetrics/\nnetwork/\n" +
				"profile\npublic-hostname\npublic-ipv4\nreservation-id\nsecurity-groups\nsystem",
		}},
		{"replaces a directory by another", overlay("meta-data/iam", "meta-data/iam/security-credentials/mine={}"), map[string]string{
			"latest/meta-data/iam":                                                  "security-credentials/",
			"latest/meta-data/iam/security-credentials":                             "mine",
			"latest/meta-data/iam/security-credentials/mine":                        "{}",
			"latest/meta-data/iam/info":                                             absent,
			"latest/meta-data/iam/security-credentials/AmazonLightsailInstanceRole": absent,
		}},
		{"makes a leaf of a directory", overlay("meta-data/placement=here"), map[string]string{
			"latest/meta-data/placement":        "here",
			"latest/meta-data/placement/region": absent,
		}},
		{"makes a directory of a leaf", overlay("meta-data/ami-id/x=1", "meta-data/kernel-id/x=1"), map[string]string{
			"latest/meta-data/ami-id":      "x",
			"latest/meta-data/ami-id/x":    "1",
			"latest/meta-data/kernel-id":   "x",
			"1.0/meta-data":                "ami-id/\nami-launch-index\nami-manifest-path\nhostname\ninstance-id\nkernel-id/\nlocal-ipv4\nreservation-id\nsecurity-groups",
			"latest/meta-data/ami-id/x/ab": absent,
		}},
		{"leaves a leaf alone when it removes below", overlay("meta-data/ami-id/x"), map[string]string{
			"1.0/meta-data/ami-id": "ami-of-the-table",
			"1.0/meta-data":        "ami-id\nami-launch-index\nami-manifest-path\nhostname\ninstance-id\nlocal-ipv4\nreservation-id\nsecurity-groups",
		}},
		{"gives user data", overlay("user-data=#!"), map[string]string{
			"latest/user-data": "#!", "1.0": "meta-data\nuser-data",
		}},
		{"takes even the name of user data", overlay("user-data"), map[string]string{
			"latest/user-data": absent, "latest": "dynamic\nmeta-data",
		}},
		{"adds beside meta-data", overlay("vendor/a=1", "zone=2"), map[string]string{
			"latest": "dynamic\nmeta-data\nuser-data\nvendor\nzone", "latest/vendor": "a", "latest/zone": "2",
		}},
		{"adds to dynamic, in its form", overlay("dynamic/x=1", "dynamic/y/z=1"), map[string]string{
			"latest/dynamic": "instance-identity/\nx\ny/\n", "latest/dynamic/y": "z\n", "latest/dynamic/x": "1",
			"1.0": "dynamic\nmeta-data\nuser-data",
		}},
		{"lists what is not listed otherwise", overlay("dynamic/fws/instance-monitoring=mine"), map[string]string{
			"latest/dynamic": "fws/\ninstance-identity/\n", "latest/dynamic/fws/instance-monitoring": "mine",
		}},
		{"removes all", overlay("meta-data", "dynamic", "user-data"), map[string]string{
			"latest": absent, "latest/meta-data": absent, "latest/dynamic/fws/instance-monitoring": absent,
		}},
		{"reaches into what the instance names", overlay(
			"meta-data/network/interfaces/macs/06:01:02:03:04:05/device-number=7",
			"meta-data/network/interfaces/macs/06:01:02:03:04:05/ipv4-associations",
			"meta-data/network/interfaces/macs/02:00:00:00:00:99/mac=02:00:00:00:00:99"), map[string]string{
			"latest/meta-data/network/interfaces/macs":                                          "06:01:02:03:04:05/\n02:00:00:00:00:99/",
			"latest/meta-data/network/interfaces/macs/06:01:02:03:04:05/device-number":          "7",
			"latest/meta-data/network/interfaces/macs/06:01:02:03:04:05/interface-id":           "eni-0123456789abcdef0",
			"latest/meta-data/network/interfaces/macs/06:01:02:03:04:05/ipv4-associations":      absent,
			"latest/meta-data/network/interfaces/macs/02:00:00:00:00:99":                        "mac",
			"latest/meta-data/network/interfaces/macs/02:00:00:00:00:99/interface-id":           absent,
			"latest/meta-data/network/interfaces/macs/06:01:02:03:04:05/ipv4-associations/x":    absent,
			"latest/meta-data/network/interfaces/macs/06:01:02:03:04:05/subnet-ipv4-cidr-block": "172.26.0.0/20",
		}},
		{"a record that breaks the rules garbles nothing", overlay("/meta-data/x=1", "meta-data//x=1", "meta-data/x/=1", "=1", "meta-data/../x=1", "meta-data/a\nb=1"), map[string]string{
			"1.0/meta-data": "ami-id\nami-launch-index\nami-manifest-path\nhostname\ninstance-id\nlocal-ipv4\nreservation-id\nsecurity-groups",
			"1.0":           "meta-data\nuser-data",
		}},
		{"a value wins over what is put below it", overlay("meta-data/a=1", "meta-data/a/b=2", "meta-data/a/c"), map[string]string{
			"latest/meta-data/a": "1", "latest/meta-data/a/b": absent,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := fixtureNamed(t, "plain")
			v.Instance.ImageID = "ami-of-the-table"
			v.Instance.Overlay = tt.overlay
			for path, want := range tt.want {
				got := absent
				if it, ok := metadata.Get(v, path); ok {
					got = string(it.Body)
				}
				if got != want {
					t.Errorf("GET %s = %q, want %q", path, got, want)
				}
			}
		})
	}
}

func TestOverlayKeepsTypes(t *testing.T) {
	v := fixtureNamed(t, "plain")
	v.Instance.Overlay = overlay("user-data=x", "meta-data/iam/info={}", "dynamic/instance-identity/document={}")
	for path, want := range map[string]string{
		"latest/user-data": "application/octet-stream", "latest/meta-data/iam/info": "text/plain",
	} {
		if it, _ := metadata.Get(v, path); it.ContentType != want || !it.Modified.Equal(modified) {
			t.Errorf("%s: %s modified %v, want %s modified %v", path, it.ContentType, it.Modified, want, modified)
		}
	}
}

func TestValidateOverlay(t *testing.T) {
	long := strings.Repeat("a/", 300)
	many := map[string]*string{}
	for i := range metadata.MaxOverlayEntries + 1 {
		many[fmt.Sprintf("meta-data/%d", i)] = nil
	}
	for _, tt := range []struct {
		overlay map[string]*string
		want    string // part of the message; empty: valid
	}{
		{nil, ""},
		{overlay("meta-data/ami-id=x", "user-data", "dynamic/x=", "meta-data/a b/ü=%2F", "meta-data/iam", "meta-data/iam/info={}"), ""},
		{overlay("meta-data/ami-id/x=1", "meta-data/placement=1", "apiary=1"), ""},
		{overlay("=1"), "is empty"},
		{overlay("/meta-data/ami-id=1"), "begins with a slash"},
		{overlay("meta-data/=1"), "empty"},
		{overlay("meta-data//x"), "empty"},
		{overlay("meta-data/../x"), `".."`},
		{overlay("meta-data/.=1"), `"."`},
		{overlay("meta-data/a\nb"), "control characters"},
		{overlay("meta-data/a\x7f"), "control characters"},
		{overlay("meta-data/a\u0085"), "control characters"},
		{overlay("meta-data/a\xff"), "not UTF-8"},
		{overlay("api"), "token endpoint"},
		{overlay("api/token=x"), "token endpoint"},
		{overlay("meta-data/a=1", "meta-data/a/b=1"), `lies below "meta-data/a"`},
		{overlay("meta-data/a=1", "meta-data/a/b/c=1"), `lies below "meta-data/a"`},
		{overlay("meta-data/" + long + "x"), "512 are allowed"},
		{many, "256 are allowed"},
		{overlay("user-data=" + strings.Repeat("x", metadata.MaxOverlayBytes)), "65536 are allowed"},
	} {
		err := metadata.ValidateOverlay(tt.overlay)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%v: %v", slices.Collect(maps.Keys(tt.overlay)), err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || openimds.KindOf(err) != openimds.InvalidInput {
			t.Errorf("%.80q: error %v, want one with %q", slices.Collect(maps.Keys(tt.overlay)), err, tt.want)
		}
		if err != nil && (len(err.Error()) > 1300 || strings.Contains(err.Error(), "\n")) {
			t.Errorf("the message has %d bytes or several lines", len(err.Error()))
		}
	}
}

// model is what an overlay means, worked out on the whole tree at once: the leaves of the table, less
// what the overlay removes and hides, and the overlay's own.
func model(table map[string][]byte, overlay map[string]*string) map[string]string {
	below := func(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
	m := map[string]string{}
	for path, body := range table {
		m[path] = string(body)
	}
	for p, value := range overlay {
		if !wellFormed(p) {
			continue
		}
		for path := range m {
			if below(path, p) || value != nil && below(p, path) {
				delete(m, path)
			}
		}
	}
	for p, value := range overlay {
		if value == nil || !wellFormed(p) {
			continue
		}
		shadowed := false
		for q, other := range overlay {
			shadowed = shadowed || other != nil && q != p && below(p, q)
		}
		if !shadowed {
			m[p] = *value
		}
	}
	return m
}

func wellFormed(path string) bool {
	return !slices.ContainsFunc(strings.Split(path, "/"), func(s string) bool {
		return s == "" || s == "." || s == ".." || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
	})
}

// children are the names that a listing of dir must have, directories with their slash.
func children(m map[string]string, dir string) []string {
	names := map[string]bool{}
	for path := range m {
		if rest, ok := strings.CutPrefix(path, dir+"/"); ok || dir == "" {
			if dir == "" {
				rest = path
			}
			name, more, _ := strings.Cut(rest, "/")
			if more != "" || strings.Contains(rest, "/") {
				name += "/"
			}
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// checkOverlay holds a version of the view against the model: every value, every listing, and that
// nothing else answers among the paths that might.
func checkOverlay(t *testing.T, v *metadata.View, version string) {
	t.Helper()
	bare := *v.Instance
	bare.Overlay = nil
	plain := *v
	plain.Instance = &bare
	table := leaves(crawl(t, &plain, version))
	if it, ok := metadata.Get(&plain, version+"/dynamic/fws/instance-monitoring"); ok {
		table["dynamic/fws/instance-monitoring"] = it.Body
	}
	want := model(table, v.Instance.Overlay)

	paths := map[string]bool{"": true}
	for _, source := range [][]string{slices.Collect(maps.Keys(table)), slices.Collect(maps.Keys(v.Instance.Overlay)), slices.Collect(maps.Keys(want))} {
		for _, p := range source {
			paths[p+"/x"] = true
			for p != "" {
				paths[p] = true
				p = p[:max(0, strings.LastIndexByte(p, '/'))]
			}
		}
	}
	for path := range paths {
		it, ok := metadata.Get(v, strings.TrimSuffix(version+"/"+path, "/"))
		if !wellFormed(path) && path != "" {
			continue // it must not panic; more is not promised
		}
		got := string(it.Body)
		if value, isLeaf := want[path]; isLeaf && path != "" {
			if !ok || got != value {
				t.Errorf("GET %s/%s = %q, %v, want %q", version, path, got, ok, value)
			}
			continue
		}
		names := listed(want, v, path)
		if ok != (len(names) > 0) {
			t.Errorf("GET %s/%s = %q, %v, want a listing of %q", version, path, got, ok, names)
			continue
		}
		if got := parseListing(got, path); ok && !slices.Equal(got, names) {
			t.Errorf("GET %s/%s lists %q, want %q", version, path, got, names)
		}
	}
}

// listed are the names that the listing of dir shows, with the service's own exceptions.
func listed(want map[string]string, v *metadata.View, dir string) []string {
	names := children(want, dir)
	switch dir {
	case "":
		for i := range names {
			names[i] = strings.TrimSuffix(names[i], "/")
		}
		if value, ok := v.Instance.Overlay["user-data"]; (!ok || value != nil) && !slices.Contains(names, "user-data") {
			names = append(names, "user-data")
		}
		// What only fws holds up is not listed either.
		if slices.Equal(listed(want, v, "dynamic"), nil) {
			names = slices.DeleteFunc(names, func(n string) bool {
				return n == "dynamic" && want["dynamic"] == "" && v.Instance.Overlay["dynamic"] == nil
			})
		}
	case "dynamic":
		for p, value := range v.Instance.Overlay {
			if value != nil && wellFormed(p) && (p == "dynamic/fws" || strings.HasPrefix(p, "dynamic/fws/")) {
				return names
			}
		}
		names = slices.DeleteFunc(names, func(n string) bool { return n == "fws/" })
	}
	slices.Sort(names)
	return names
}

func parseListing(body, dir string) []string {
	var names []string
	for name := range strings.SplitSeq(strings.TrimSuffix(body, "\n"), "\n") {
		if dir == "meta-data/public-keys" && !strings.HasSuffix(name, "/") {
			// "0=name" is the directory 0, unless the overlay has made a leaf of it.
			if index, _, ok := strings.Cut(name, "="); ok {
				name = index + "/"
			}
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Every pair of places of the tree, with every pair of things that an overlay may say of them.
func TestOverlayAgainstModel(t *testing.T) {
	places := []string{
		"meta-data", "meta-data/ami-id", "meta-data/ami-id/x", "meta-data/iam", "meta-data/iam/info",
		"meta-data/iam/security-credentials/AmazonLightsailInstanceRole", "meta-data/public-keys/0", "meta-data/public-keys/0/openssh-key",
		"meta-data/public-keys/9/openssh-key", "meta-data/tags/instance/Name", "meta-data/tags/instance/not allowed", "meta-data/new/deep",
		"meta-data/new", "meta-data/system", "user-data", "user-data/x", "dynamic", "dynamic/fws", "dynamic/fws/new",
		"dynamic/instance-identity", "dynamic/instance-identity/document", "new", "new/x",
		"meta-data/network/interfaces/macs/06:01:02:03:04:05/ipv4-associations/198.18.7.8",
		"meta-data/network/interfaces/macs/06:01:02:03:04:05",
	}
	value := "value"
	for _, version := range []string{"1.0", "latest"} {
		for i, p := range places {
			for _, q := range places[i:] {
				for _, values := range [][2]*string{{&value, &value}, {&value, nil}, {nil, &value}, {nil, nil}} {
					v := fixtureNamed(t, "full")
					v.Instance.Overlay = map[string]*string{p: values[0], q: values[1]}
					checkOverlay(t, v, version)
					if t.Failed() {
						t.Fatalf("with %q: %v, %q: %v", p, values[0] != nil, q, values[1] != nil)
					}
				}
			}
		}
	}
}

// Many overlays of several entries, drawn from all the places of the tree and beside them.
func TestRandomOverlays(t *testing.T) {
	full := fixtureNamed(t, "full")
	pool := map[string]bool{}
	for path := range leaves(crawl(t, full, "latest")) {
		pool[path+"/below"] = true
		for path != "" {
			pool[path], pool[path+"~"] = true, true
			path = path[:max(0, strings.LastIndexByte(path, '/'))]
		}
	}
	places := slices.Sorted(maps.Keys(pool))
	draw := rand.New(rand.NewPCG(1, 2))
	versions := metadata.Versions()
	for range 400 {
		v := fixtureNamed(t, "full")
		v.Instance.Overlay = map[string]*string{}
		for range 1 + draw.IntN(8) {
			var value *string
			if draw.IntN(2) == 0 {
				text := strings.Repeat("v", draw.IntN(3))
				value = &text
			}
			v.Instance.Overlay[places[draw.IntN(len(places))]] = value
		}
		checkOverlay(t, v, versions[draw.IntN(len(versions))])
		if t.Failed() {
			t.Fatalf("with %v", v.Instance.Overlay)
		}
	}
}

// FuzzGet looks for panics with any path and any overlay, and holds every overlay against the model.
func FuzzGet(f *testing.F) {
	f.Add("latest/meta-data/ami-id", "meta-data/ami-id=x")
	f.Add("", "meta-data/ami-id/x=1;meta-data/ami-id;user-data")
	f.Add("latest/meta-data/public-keys/0", "meta-data/public-keys/0=1;dynamic/x=2")
	f.Add("1.0//a/../b", "/a;b/;=;.;..;a//b=1;a=1;a/b=1")
	f.Add("latest/meta-data/tags/instance/\xff", "meta-data/tags;meta-data/tags/instance/new=1")
	f.Add("latest/dynamic/fws", "dynamic/instance-identity;dynamic/fws/a=1")
	f.Fuzz(func(t *testing.T, path, entries string) {
		v := fixtureNamed(t, "full")
		metadata.Get(v, path)
		v.Instance.Overlay = overlay(strings.Split(entries, ";")...)
		if it, ok := metadata.Get(v, path); ok && it.ContentType == "" {
			t.Errorf("GET %q has no type", path)
		}
		if err := metadata.ValidateOverlay(v.Instance.Overlay); err == nil {
			for p := range v.Instance.Overlay {
				if !wellFormed(p) || strings.ContainsFunc(p, unicode.IsControl) {
					t.Errorf("%q is accepted", p)
				}
			}
		}
		checkOverlay(t, v, "latest")
	})
}

// Whatever tags there are and whatever lies over them, they are listed in byte order.
func TestTagsAreListedInByteOrder(t *testing.T) {
	names := []string{"Name", "name", "aws:autoscaling:groupName", "class", "env", "A", "Z", "_", "-", "10", "9", "a.b", "a", "a@b", "team=x", "not allowed"}
	draw := rand.New(rand.NewPCG(3, 4))
	const dir = "meta-data/tags/instance/"
	for range 300 {
		v := fixtureNamed(t, "full")
		v.Instance.Tags, v.Instance.Overlay = nil, map[string]*string{}
		shown := map[string]bool{}
		for range draw.IntN(8) {
			name := names[draw.IntN(len(names))]
			v.Instance.Tags = append(v.Instance.Tags, openimds.Tag{Key: name, Value: "x"})
			shown[name] = shown[name] || name != "not allowed"
		}
		for range draw.IntN(8) {
			name, value := names[draw.IntN(len(names))], new("laid over")
			if draw.IntN(3) == 0 {
				value = nil
			}
			v.Instance.Overlay[dir+name] = value
			shown[name] = value != nil
		}
		maps.DeleteFunc(shown, func(_ string, there bool) bool { return !there })
		want := strings.Join(slices.Sorted(maps.Keys(shown)), "\n")
		if it, _ := metadata.Get(v, "latest/"+strings.TrimSuffix(dir, "/")); string(it.Body) != want {
			t.Fatalf("tags %v, overlay %v: listed as\n%s\nwant\n%s", v.Instance.Tags, v.Instance.Overlay, it.Body, want)
		}
	}
}
