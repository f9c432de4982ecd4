package advice

import (
	"slices"
	"strings"
)

// Likeness says whether two callers with the same source address and User-Agent are one program.
type Likeness uint8

// The likenesses.
const (
	Different Likeness = iota
	// Perhaps: nobody can tell. A script may ask for a token by one command and, when none comes, go on by another
	// that has none, and so may somebody else.
	Perhaps
	Same
)

// Alike compares what asked for a token with what came without one. They are the same if they are one file, and one
// script of an interpreter; where it is not known of one of them what it is, what they say of themselves decides. Of
// commands that ask once (curl), each call has a command line of its own: one that has a header for a token was to
// have one, and of the others it is not known.
func Alike(asked, without Seen) Likeness {
	known := asked.Executable != "" && without.Executable != ""
	switch {
	case known && (asked.Executable != without.Executable || asked.Place != without.Place):
		return Different
	case !known && !isCommand(Parse(without.UserAgent).tool) && !isCommand(toolOf(without.Executable, nil)):
		return Same
	case !known && len(without.Arguments) == 0:
		return Perhaps
	case !known || isCommand(toolOf(without.Executable, nil)):
		if slices.ContainsFunc(without.Arguments, hasTokenHeader) {
			return Same
		}
		return Perhaps
	case firstWord(asked.Arguments) != firstWord(without.Arguments):
		return Different
	}
	return Same
}

func isCommand(t *tool) bool { return t != nil && t.kind == command }

// hasTokenHeader says that an argument names the header of session tokens, whatever it has as its value.
func hasTokenHeader(argument string) bool {
	return strings.Contains(strings.ToLower(argument), "x-aws-ec2-metadata-token")
}
