package processes

import (
	"regexp"
	"strings"
)

// hidden stands where a secret was.
const hidden = "[hidden]"

// secretName is of what has a secret as its value, whether it is a flag, a variable, a field of JSON, a header or
// a parameter of a URL.
const secretName = `(?:[A-Za-z0-9_.-]*(?:secret|passw|passphrase|token|credential|authoriz|api-?_?key|access-?_?key|private-?_?key|signature|session-?_?id|cookie|pwd|auth|bearer)[A-Za-z0-9_.-]*|` + shortName + `)`

// shortName is of words that are too short to be looked for within others: they are whole parts of a name, between
// its separators or capitals.
const shortName = `\b(?:[A-Za-z0-9_.-]*[_.-])?(?:pass|passin|passout|pw|key|psk|pat|creds?)(?:[_.-][A-Za-z0-9_.-]*)?|` +
	`(?-i:[A-Za-z0-9_.-]*[a-z0-9](?:Pass|Pw|Key|Psk)(?:[A-Z0-9_.-][A-Za-z0-9_.-]*)?)`

var (
	// A name, what separates it from its value, and the value: to the end of the quotes it stands in, else of the word.
	namedSecret = regexp.MustCompile(`(?i)(` + secretName + `["']?\s*[:=]\s*)("[^"]*"?|'[^']*'?|(?:(?:bearer|basic|aws4-hmac-sha256|digest|token)\s+)?[^\s"'&;,]+)`)
	// The same after a blank, where the name is a flag in the middle of a script.
	flagSecret = regexp.MustCompile(`(?i)(\s--?` + secretName + `\s+)("[^"]*"?|'[^']*'?|[^\s"'&;,]+)`)
	// secretFlag is a whole word that announces one.
	secretFlag = regexp.MustCompile(`(?i)^--?` + secretName + `$`)
	// The rest of a header whose value may have blanks.
	headerSecret = regexp.MustCompile(`(?i)(\b(?:authorization|proxy-authorization|cookie|x-aws-ec2-metadata-token|x-amz-security-token)["']?\s*:\s*)[^"'\r\n]+`)
	// The password in a URL, and the user before it, who may be one.
	urlUser = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#"'@]*@`)
	// Identifiers of AWS's access keys are followed by the key often enough.
	accessKey = regexp.MustCompile(`\b(?:AKIA|ASIA|AIDA|AROA)[A-Z0-9]{12,}\b`)
	// What is too long and too mixed to be a word.
	longRun = regexp.MustCompile(`[A-Za-z0-9+/=_.~-]{20,}`)
)

// Blank hides in a command line what is or may be a secret: values of flags, variables, headers and parameters
// whose name says so, passwords behind the flags of programs that are known, also where these run under others (sudo, env)
// or in a script of one argument (sh -c), users in URLs, access keys, and long runs of letters and digits that look like
// keys and tokens. It rather hides too much; the program and the names of what was hidden stay.
func Blank(args []string) []string {
	clean := blankWords(args, 0)
	for i, arg := range clean {
		clean[i] = BlankText(arg)
	}
	return clean
}

// BlankText hides in a text what [Blank] hides in a command line, as far as a text tells it.
func BlankText(text string) string {
	text = headerSecret.ReplaceAllString(text, "${1}"+hidden)
	text = namedSecret.ReplaceAllStringFunc(text, func(found string) string {
		m := namedSecret.FindStringSubmatch(found)
		if strings.Contains(strings.ToLower(m[1]), "-ttl") { // how long a token is asked for is none
			return found
		}
		return m[1] + hidden
	})
	text = flagSecret.ReplaceAllString(text, "${1}"+hidden)
	text = urlUser.ReplaceAllString(text, "${1}"+hidden+"@")
	text = accessKey.ReplaceAllString(text, hidden)
	return longRun.ReplaceAllStringFunc(text, func(run string) string {
		if likeKey(run) {
			return hidden
		}
		return blankParts(run)
	})
}

// blankParts hides the names of a path that look like keys.
func blankParts(run string) string {
	parts := strings.Split(run, "/")
	for i, part := range parts {
		// Words, versions and hyphens make names; keys have one long piece that is neither.
		for piece := range strings.FieldsFuncSeq(part, func(r rune) bool { return strings.ContainsRune("-._~=", r) }) {
			if len(piece) >= 16 && mixed(piece) || len(piece) >= 32 && hex(piece) {
				parts[i] = hidden
			}
		}
	}
	return strings.Join(parts, "/")
}

// likeKey tells what is one as a whole: 40 characters of all kinds, as AWS's secret keys are, and base64 of
// some length; a path is none.
func likeKey(run string) bool {
	if strings.HasPrefix(run, "/") || strings.Contains(run, "//") {
		return false
	}
	return mixed(run) && (len(strings.TrimRight(run, "=")) == 40 || strings.HasSuffix(run, "=") || strings.Contains(run, "+"))
}

// mixed tells a run with capitals, small letters and digits.
func mixed(s string) bool {
	return strings.ContainsAny(s, "0123456789") && strings.ToLower(s) != s && strings.ToUpper(s) != s
}

func hex(s string) bool { return strings.Trim(s, "0123456789abcdefABCDEF") == "" }
