package advice

import "strings"

// rewrite tells how a command asks with a token: with its own arguments if they are known.
func rewrite(t *tool, arguments []string) Advice {
	lines := t.rewrite(arguments)
	return Advice{
		Code: Rewrite, Args: map[string]string{"tool": t.name, "command": strings.Join(lines, "\n")}, Source: t.source,
		Text: "ask for a token first" + t.also + ": " + strings.Join(lines, "; "),
	}
}

const anyPath = "http://169.254.169.254/latest/meta-data/"

// curlLines are the two that do with a token what a command line of curl did without.
func curlLines(arguments []string) []string {
	from, words := service(arguments), []string{"curl"}
	if len(arguments) == 0 {
		arguments = []string{"curl", "-s", anyPath}
	}
	words = append(words, "-H", `"X-aws-ec2-metadata-token: $TOKEN"`)
	return []string{
		`TOKEN=$(curl -s -X PUT ` + quoted(from+"/latest/api/token") + ` -H "X-aws-ec2-metadata-token-ttl-seconds: 300")`,
		strings.Join(append(words, allQuoted(arguments[1:])...), " "),
	}
}

// wgetLines are curlLines for GNU Wget, which sends a PUT as of version 1.15; that of busybox cannot.
func wgetLines(arguments []string) []string {
	from, words := service(arguments), []string{"wget"}
	if len(arguments) == 0 {
		arguments = []string{"wget", "-q", "-O", "-", anyPath}
	}
	words = append(words, `--header="X-aws-ec2-metadata-token: $TOKEN"`)
	return []string{
		`TOKEN=$(wget -q -O - --method=PUT --header="X-aws-ec2-metadata-token-ttl-seconds: 300" ` + quoted(from+"/latest/api/token") + `)`,
		strings.Join(append(words, allQuoted(arguments[1:])...), " "),
	}
}

func powerShellLines([]string) []string {
	return []string{
		`$token = Invoke-RestMethod -Method PUT -Uri http://169.254.169.254/latest/api/token -Headers @{"X-aws-ec2-metadata-token-ttl-seconds" = "300"}`,
		`Invoke-RestMethod -Uri ` + anyPath + ` -Headers @{"X-aws-ec2-metadata-token" = $token}`,
	}
}

// service is the address that the arguments ask, without a path.
func service(arguments []string) string {
	for _, a := range arguments {
		rest, plain := strings.CutPrefix(a, "http://")
		if !plain {
			continue
		}
		host, _, _ := strings.Cut(rest, "/")
		return "http://" + host
	}
	return "http://169.254.169.254"
}

func allQuoted(arguments []string) []string {
	out := make([]string, 0, len(arguments))
	for _, a := range arguments {
		out = append(out, quoted(a))
	}
	return out
}

// quoted is a word as a shell reads it.
func quoted(word string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
