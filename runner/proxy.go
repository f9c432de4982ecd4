package runner

import (
	"slices"
	"strings"
)

// proxies are the variables that send a client's requests to a proxy. A proxy is another machine, which has
// another metadata service or none.
var proxies = []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"}

// direct are the metadata addresses as clients compare them. Some leave the brackets of a URL on.
var direct = []string{"169.254.169.254", "fd00:ec2::254", "[fd00:ec2::254]"}

// pastProxies has the metadata addresses called without a proxy if the environment names one.
func pastProxies(env []string) []string {
	entries := PastProxies(env, direct)
	if entries == nil {
		return env
	}
	out := slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return name == upper || name == lower
	})
	return append(out, entries...)
}

// The variables that say what is called without a proxy.
const upper, lower = "NO_PROXY", "no_proxy"

// PastProxies returns the entries that have hosts called without a proxy if the environment names one; nil: it names
// none. Clients differ in which of the two variables they read, so both get what either says.
func PastProxies(env, hosts []string) []string {
	value := map[string]string{}
	for _, entry := range env {
		name, v, _ := strings.Cut(entry, "=")
		value[name] = v
	}
	if !slices.ContainsFunc(proxies, func(name string) bool { return value[name] != "" }) {
		return nil
	}
	var entries []string
	for _, names := range [][2]string{{upper, lower}, {lower, upper}} {
		listed, ok := value[names[0]]
		if !ok {
			listed = value[names[1]]
		}
		entries = append(entries, names[0]+"="+alsoDirect(listed, hosts))
	}
	return entries
}

// alsoDirect adds hosts to a list of what is called without a proxy.
func alsoDirect(list string, hosts []string) string {
	var all []string
	for entry := range strings.SplitSeq(list, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			all = append(all, entry)
		}
	}
	if slices.Contains(all, "*") {
		return list // all is; with more entries some clients take it for a name
	}
	for _, host := range hosts {
		if !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	return strings.Join(all, ",")
}
