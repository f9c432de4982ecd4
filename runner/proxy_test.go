package runner

import (
	"slices"
	"strings"
	"testing"
)

// Behind a proxy the metadata service is called directly, by every client and beside what is called so anyway.
func TestRunPastProxies(t *testing.T) {
	const ours = "169.254.169.254,fd00:ec2::254,[fd00:ec2::254]"
	for given, want := range map[string]string{
		"PATH=/bin":                                  "PATH=/bin",
		"NO_PROXY=a":                                 "NO_PROXY=a",
		"HTTP_PROXY= NO_PROXY":                       "HTTP_PROXY= NO_PROXY",
		"HTTP_PROXY=http://p":                        "HTTP_PROXY=http://p NO_PROXY=" + ours + " no_proxy=" + ours,
		"all_proxy=socks5://p no_proxy=.a,b":         "all_proxy=socks5://p NO_PROXY=.a,b," + ours + " no_proxy=.a,b," + ours,
		"https_proxy=p NO_PROXY=a no_proxy=b":        "https_proxy=p NO_PROXY=a," + ours + " no_proxy=b," + ours,
		"http_proxy=p no_proxy=169.254.169.254":      "http_proxy=p NO_PROXY=" + ours + " no_proxy=" + ours,
		"http_proxy=p NO_PROXY=* no_proxy=":          "http_proxy=p NO_PROXY=* no_proxy=" + ours,
		"http_proxy=p NO_PROXY=" + ours + " OTHER=x": "http_proxy=p OTHER=x NO_PROXY=" + ours + " no_proxy=" + ours,
	} {
		for _, c := range []Environment{{}, {KeepAll: true}} {
			if got := c.Of(strings.Fields(given)); !slices.Equal(got, strings.Fields(want)) {
				t.Errorf("%q: %q, want %q", given, got, want)
			}
		}
	}
}
