package advice

import (
	"slices"
	"strconv"
	"strings"
)

// Agent is what a User-Agent tells of the software that sent it. All of it is what the caller says, and
// nothing is made up: what is not told is empty.
type Agent struct {
	// Tool is the name that people know it by ("AWS SDK for Go"); Version is its own.
	Tool, Version string
	// Language it is written for or runs on, with its version if that is told ("Go 1.22.0"), and the
	// operating system ("Linux 6.1.79").
	Language, OS string

	tool *tool
}

// String is the agent on one line; empty if nothing is known.
func (a Agent) String() string {
	if a.Tool == "" {
		return ""
	}
	text := a.Tool
	if a.Version != "" {
		text += " " + a.Version
	}
	var more []string
	for _, s := range []string{a.Language, a.OS} {
		if s != "" && s != a.Tool {
			more = append(more, s)
		}
	}
	if len(more) > 0 {
		text += " (" + strings.Join(more, ", ") + ")"
	}
	return text
}

// Boots says whether it is software that comes when a machine boots and hardly else, so that the machine
// has booted when it comes.
func (a Agent) Boots() bool { return a.tool != nil && a.tool.boots }

// maxAgent bounds what is looked at of a User-Agent: senders bound nothing.
const maxAgent = 1024

// Parse reads a User-Agent: products with versions, comments in parentheses (RFC 9110, section 10.1.5), and the
// pairs of AWS's SDKs ("lang/go#1.22.0").
func Parse(userAgent string) Agent {
	userAgent = userAgent[:min(len(userAgent), maxAgent)]
	products, comments := split(userAgent)
	var a Agent
	place := len(table)
	for _, p := range products {
		// "Datadog Agent/7.50" is one product of two words.
		if i, ok := byProduct[strings.ToLower(p.name)]; ok && i < place {
			place, a.tool, a.Version = i, &table[i], strings.TrimPrefix(p.version, "v")
		}
	}
	if a.tool == nil {
		return Agent{}
	}
	if javaTwo(a) {
		a.tool = &table[byProduct["aws-sdk-java-v2"]]
	}
	a.Tool, a.Language = a.tool.name, a.tool.language
	for _, p := range products {
		a.learn(p.name, p.version)
	}
	for _, c := range comments {
		for part := range strings.SplitSeq(c, ";") {
			a.comment(strings.TrimSpace(part))
		}
	}
	return a
}

// javaTwo tells the second SDK for Java, which has the name of the first and other numbers.
func javaTwo(a Agent) bool {
	return a.tool.name == "AWS SDK for Java" && strings.HasPrefix(a.Version, "2.")
}

type product struct{ name, version string }

// split takes a User-Agent apart. A word without a version belongs to the product behind it, if those two
// together are one that is known.
func split(s string) (products []product, comments []string) {
	word := ""
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		if s[0] == '(' {
			comment, rest, _ := strings.Cut(s[1:], ")")
			comments, s, word = append(comments, comment), rest, ""
			continue
		}
		end := strings.IndexAny(s, " \t(")
		if end < 0 {
			end = len(s)
		}
		one := s[:end]
		s = s[end:]
		name, version, found := strings.Cut(one, "/")
		if _, known := byProduct[strings.ToLower(word+" "+name)]; word != "" && known {
			name = word + " " + name
		}
		if found || known(name) {
			products = append(products, product{name, version})
		}
		word = ""
		if !found {
			word = one
		}
	}
	return products, comments
}

func known(name string) bool {
	_, ok := byProduct[strings.ToLower(name)]
	return ok
}

var (
	languages = map[string]string{"python": "Python", "go": "Go", "java": "Java", "ruby": "Ruby", "php": "PHP", "node": "Node.js", "nodejs": "Node.js", "kotlin": "Kotlin",
		"rust": "Rust", "swift": "Swift", ".net_core": ".NET", ".net": ".NET", ".net_runtime": ".NET"}
	systems = map[string]string{"linux": "Linux", "windows": "Windows", "darwin": "macOS", "macos": "macOS", "freebsd": "FreeBSD", "android": "Android"}
)

// learn takes language and system from a product or a pair.
func (a *Agent) learn(name, version string) {
	name = strings.ToLower(name)
	switch name {
	case "lang", "os", "md":
		key, value, _ := strings.Cut(version, "#")
		key = strings.ToLower(key)
		switch {
		case name == "md" && key == "goos":
			a.system(value, "")
		case name == "md" && key == "botocore": // of boto3: its own number tells all
		case name == "lang":
			a.speaks(key, value)
		case name == "os":
			a.system(key, value)
		}
		return
	}
	a.speaks(name, version)
	switch {
	case strings.HasPrefix(version, "v") && systems[name] != "" && a.Language == "JavaScript": // "linux/v12.18.3": the version is Node's
		a.system(name, "")
		a.Language = "Node.js " + version[1:]
	default:
		a.system(name, version)
	}
}

func (a *Agent) speaks(name, version string) {
	if language := languages[name]; language != "" && strings.ToLower(a.Tool) != name {
		a.Language = strings.TrimSpace(language + " " + version)
	}
}

func (a *Agent) system(name, version string) {
	if system := systems[strings.ToLower(name)]; system != "" && a.OS == "" {
		a.OS = strings.TrimSpace(system + " " + version)
	}
}

// comment takes what it can from a part of one: "go1.20.5", "windows", "Windows NT 10.0", "x86_64-pc-linux-gnu".
func (a *Agent) comment(part string) {
	lower := strings.ToLower(part)
	version, isGo := strings.CutPrefix(lower, "go")
	switch {
	case isGo && len(version) > 0 && version[0] >= '0' && version[0] <= '9':
		a.Language = "Go " + version
	case systems[lower] != "":
		a.system(lower, "")
	case strings.HasPrefix(lower, "windows nt "):
		a.system("windows", part[len("windows nt "):])
	case strings.Contains(lower, "linux"):
		a.system("linux", "")
	case strings.HasPrefix(lower, "java/"):
		a.Language = "Java " + part[len("java/"):]
	}
}

// before says whether a version is earlier than another, by their numbers; known: both have some.
func before(version, other string) (earlier, known bool) {
	a, b := numbers(version), numbers(other)
	if len(a) == 0 || len(b) == 0 {
		return false, false
	}
	return slices.Compare(a, b) < 0, true
}

// numbers are those at the beginning of a version: of "1.12.6-rc1" they are 1, 12 and 6.
func numbers(version string) []uint64 {
	var all []uint64
	for part := range strings.SplitSeq(version, ".") {
		digits := len(part) - len(strings.TrimLeft(part, "0123456789"))
		n, err := strconv.ParseUint(part[:digits], 10, 64)
		if err != nil {
			break
		}
		all = append(all, n)
		if digits < len(part) {
			break
		}
	}
	return all
}
