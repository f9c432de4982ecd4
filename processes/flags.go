package processes

import (
	"path"
	"strings"
)

// valueKind says what of a flag's value is a secret.
type valueKind int

const (
	noSecret valueKind = iota
	allSecret
	userSecret  // what stands behind a colon or a percent sign: user:password, file:password, user%password
	proxySecret // what stands before an @: user:password@host
)

// programFlags are flags of one letter of a program, by what of their value is a secret.
type programFlags struct {
	secret, user, proxy string
	attached            string // a secret only where it stands directly behind
	valued              string // the others that have a value; where none is known, letters are not taken to be combined
}

// programs are those whose names of flags do not say that there is a secret, from their manuals.
var programs = map[string]programFlags{
	"curl":      {secret: "b", user: "uUE", proxy: "x", valued: "AcCdDeFhHKmoPQrtTwXyYz"},
	"mysql":     {attached: "p"}, // and all whose names begin alike, as mysqldump
	"mariadb":   {attached: "p"},
	"ldap":      {secret: "w", valued: "abcdDefFhHlMoOpPRsStTUXyYz"}, // ldapsearch and the like
	"mongo":     {secret: "p"},
	"mosquitto": {secret: "P"},
	"sshpass":   {secret: "p"}, "redis-cli": {secret: "a"}, "7z": {attached: "p"}, "openssl": {secret: "kK"},
	"zip": {secret: "P"}, "unzip": {secret: "P"}, "sqlcmd": {secret: "P"}, "bcp": {secret: "P"}, "ipmitool": {secret: "P"},
	"http": {secret: "a"}, "https": {secret: "a"}, "xh": {secret: "a"}, "ab": {user: "AP"}, "smbclient": {user: "U"},
	"login": {secret: "p"}, // of docker, podman, az, helm
}

// families are names that many programs' names begin with.
var families = []string{"mysql", "mariadb", "ldap", "mongo", "mosquitto"}

// longFlags are flags of curl whose names do not say that there is a secret.
var longFlags = map[string]valueKind{
	"--user": userSecret, "--proxy-user": userSecret, "--cert": userSecret, "--proxy-cert": userSecret,
	"--proxy": proxySecret, "--preproxy": proxySecret,
}

// programOf is what a word has run, if that is known; in a script it may stand behind signs of the shell.
func programOf(word string) (programFlags, bool) {
	name := path.Base(word[strings.LastIndexAny(word, "=(`;|&{")+1:])
	if p, ok := programs[name]; ok {
		return p, true
	}
	for _, family := range families {
		if strings.HasPrefix(name, family) {
			return programs[family], true
		}
	}
	return programFlags{}, false
}

// deepest is how many scripts may be within each other.
const deepest = 4

// blankWords hides what stands behind flags. The rules of a program hold from its name on: it need not be the
// first word.
func blankWords(args []string, depth int) []string {
	clean := make([]string, len(args))
	var program programFlags
	next := noSecret
	for i, arg := range args {
		clean[i] = arg
		switch {
		case next != noSecret:
			clean[i], next = next.blank(arg), noSecret
		case i > 0 && strings.HasPrefix(arg, "-"):
			clean[i], next = program.flag(arg)
		default:
			if p, ok := programOf(arg); ok {
				program = p
			}
		}
		if clean[i] == arg && depth < deepest && strings.ContainsAny(arg, " \t\n") {
			clean[i] = blankScript(arg, depth+1)
		}
	}
	return clean
}

// flag hides a value that stands in the same word, and says what the next word has.
func (p programFlags) flag(arg string) (clean string, next valueKind) {
	if secretFlag.MatchString(arg) {
		return arg, allSecret
	}
	if strings.HasPrefix(arg, "--") {
		name, value, has := strings.Cut(arg, "=")
		kind := noSecret
		if p.valued != "" {
			kind = longFlags[name]
		}
		if has && kind != noSecret {
			return name + "=" + kind.blank(value), noSecret
		}
		return arg, kind
	}
	for i := 1; i < len(arg); i++ {
		letter, value := arg[i:i+1], arg[i+1:]
		kind := p.kind(letter)
		switch {
		case kind != noSecret && value != "":
			return arg[:i+1] + kind.blank(value), noSecret
		case kind != noSecret:
			return arg, kind
		case strings.Contains(p.attached, letter) && value != "":
			return arg[:i+1] + hidden, noSecret
		case p.valued == "" || strings.Contains(p.valued, letter):
			return arg, noSecret
		}
	}
	return arg, noSecret
}

func (p programFlags) kind(letter string) valueKind {
	switch {
	case strings.Contains(p.secret, letter):
		return allSecret
	case strings.Contains(p.user, letter):
		return userSecret
	case strings.Contains(p.proxy, letter):
		return proxySecret
	}
	return noSecret
}

func (k valueKind) blank(value string) string {
	switch k {
	case allSecret:
		return hidden
	case userSecret:
		if at := strings.IndexAny(value, ":%"); at >= 0 {
			return value[:at+1] + hidden
		}
	case proxySecret:
		if at := strings.LastIndexByte(value, '@'); at >= 0 {
			return hidden + value[at:]
		}
	}
	return value
}

// blankScript hides the same in an argument of several words, as of sh -c. What was not hidden stays as it is.
func blankScript(text string, depth int) string {
	var words []string
	var ends [][2]int
	for at := 0; at < len(text); {
		if strings.IndexByte(" \t\n", text[at]) >= 0 {
			at++
			continue
		}
		end := at + wordEnd(text[at:])
		words, ends = append(words, unquoted(text[at:end])), append(ends, [2]int{at, end})
		at = end
	}
	if len(words) == 1 && words[0] == text { // a quote that does not end
		return text
	}
	var b strings.Builder
	last := 0
	for i, clean := range blankWords(words, depth) {
		if clean == words[i] {
			continue
		}
		raw := text[ends[i][0]:ends[i][1]]
		quote := ""
		if raw != words[i] {
			quote = raw[:1]
		}
		b.WriteString(text[last:ends[i][0]] + quote + clean + quote)
		last = ends[i][1]
	}
	return b.String() + text[last:]
}

// wordEnd is where the first word of a script ends: at a blank that is not within quotes.
func wordEnd(text string) int {
	quote := byte(0)
	for i := range len(text) {
		switch c := text[i]; {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && strings.IndexByte(" \t\n", c) >= 0:
			return i
		}
	}
	return len(text)
}

// unquoted takes away the quotes around a whole word.
func unquoted(word string) string {
	if n := len(word); n >= 2 && (word[0] == '"' || word[0] == '\'') && word[n-1] == word[0] {
		return word[1 : n-1]
	}
	return word
}
