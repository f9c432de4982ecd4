package main

import "strings"

// shellLines are the lines of "openimds env" as a kind of shell reads them.
type shellLines struct {
	// keep has the shell itself keep what it had: a value may be a secret, which is neither printed nor passed on to the
	// programs that the shell starts; so a shell that it starts must not take itself for one that keeps anything. A
	// second evaluation keeps what the first one found. What was not exported is brought back so.
	keep string
	// keepCA is for a server whose certificate AWS's clients know anyway: an earlier evaluation may have set that of
	// another server.
	keepCA string
	// set and unset are formats, and so is onPath.
	set, unset string
	// taken is said after all of them are.
	taken string
	// offPath takes the "aws" of an earlier evaluation, maybe of another installation, from the path again.
	offPath string
	// onPath puts the program's own "aws" before the real one, if there is a real one. What it found on the path stays
	// there, so that what the user adds meanwhile is not lost when it is taken away again.
	onPath string
	// bringBack undoes it all, in a shell in which it was done.
	bringBack string
	quote     func(string) string
}

// shells are the kinds that --shell names.
var shells = map[string]shellLines{"sh": linesOfSh, "fish": linesOfFish}

// bringOne is for the variable that $openimds_name names.
const bringOne = `unset "$openimds_name"; if eval "[ -n \"\${OPENIMDS_BEFORE_$openimds_name+x}\" ]"; then eval "$openimds_name=\$OPENIMDS_BEFORE_$openimds_name"; case " ${OPENIMDS_PLAIN-} " in *" $openimds_name "*) ;; *) export "$openimds_name" ;; esac; fi`

var linesOfSh = shellLines{
	keep: `if [ -z "${OPENIMDS_IN_ENV-}" ]; then OPENIMDS_PLAIN=; for openimds_name in ` + keptByEnv + `; do if eval "[ -n \"\${$openimds_name+x}\" ]"; then eval "OPENIMDS_BEFORE_$openimds_name=\$$openimds_name"; case "$(export -p)" in *"x $openimds_name="*|*"export $openimds_name="*) ;; *) OPENIMDS_PLAIN="$OPENIMDS_PLAIN $openimds_name" ;; esac; fi; done; unset openimds_name; fi
OPENIMDS_IN_ENV=1
`,
	keepCA: "openimds_name=AWS_CA_BUNDLE; " + bringOne + "; unset openimds_name\n",
	set:    "export %s=%s\n",
	unset:  "unset %s\n",
	offPath: `if [ -n "${OPENIMDS_BIN-}" ]; then case "$PATH" in "$OPENIMDS_BIN:"*) PATH="${PATH#"$OPENIMDS_BIN:"}" ;; *":$OPENIMDS_BIN:"*) PATH="${PATH%%":$OPENIMDS_BIN:"*}:${PATH#*":$OPENIMDS_BIN:"}" ;; esac; unset OPENIMDS_BIN; hash -r; fi
`,
	onPath: `OPENIMDS_BIN=%s
case ":$PATH:" in *":$OPENIMDS_BIN:"*) ;; *) if command -v aws >/dev/null 2>&1; then PATH="$OPENIMDS_BIN:$PATH"; fi ;; esac
`,
	bringBack: `if [ -n "${OPENIMDS_IN_ENV-}" ]; then for openimds_name in ` + keptByEnv + `; do ` + bringOne + `; unset "OPENIMDS_BEFORE_$openimds_name"; done; unset openimds_name OPENIMDS_IN_ENV OPENIMDS_PLAIN; fi
`,
	quote: quote,
}

// bringOneInFish is bringOne.
const bringOneInFish = `set -eg $openimds_name; set -l openimds_before OPENIMDS_BEFORE_$openimds_name; if set -qg $openimds_before; if contains -- $openimds_name $OPENIMDS_PLAIN; set -g $openimds_name $$openimds_before; else; set -gx $openimds_name $$openimds_before; end; end`

// linesOfFish leave universal variables alone: they are of all shells of the user, and of those to come.
var linesOfFish = shellLines{
	keep: `if not set -qg OPENIMDS_IN_ENV; set -g OPENIMDS_PLAIN; for openimds_name in ` + keptByEnv + `; if set -qg $openimds_name; set -g OPENIMDS_BEFORE_$openimds_name $$openimds_name; set -qgx $openimds_name; or set -ga OPENIMDS_PLAIN $openimds_name; end; end; end
set -g OPENIMDS_IN_ENV 1
`,
	keepCA: "for openimds_name in AWS_CA_BUNDLE; " + bringOneInFish + "; end\n",
	set:    "set -gx %s %s\n",
	unset:  "set -eg %s\n",
	taken: `for openimds_name in ` + strings.Join(unsetByEnv, " ") + `; set -qUx $openimds_name; and echo "openimds: $openimds_name is a universal variable, which stays: 'set -eU $openimds_name' takes it away" >&2; end
`,
	offPath: `if set -qg OPENIMDS_BIN; if set -l openimds_at (contains -i -- $OPENIMDS_BIN $PATH); set -e PATH[$openimds_at]; end; set -eg OPENIMDS_BIN; end
`,
	onPath: `set -g OPENIMDS_BIN %s
if not contains -- $OPENIMDS_BIN $PATH; and command -sq aws; set -gx PATH $OPENIMDS_BIN $PATH; end
`,
	bringBack: `if set -qg OPENIMDS_IN_ENV; for openimds_name in ` + keptByEnv + `; ` + bringOneInFish + `; set -eg OPENIMDS_BEFORE_$openimds_name; end; set -eg OPENIMDS_IN_ENV; set -eg OPENIMDS_PLAIN; end
`,
	quote: func(s string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
	},
}

// quote makes a word that a shell reads as it is.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/:.-_", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
