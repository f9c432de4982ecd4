package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/spf13/pflag"
)

// span is a duration that may also count days ("7d", "1d12h"): the one form of all flags that take a duration.
type span time.Duration

var (
	errNoSpan = errors.New("a duration is a number with a unit (90s, 1h30m, 7d)")
	spanForm  = regexp.MustCompile(`^-?([0-9]+d)?([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))*$`)
)

// longestSpan is what a [time.Duration] can hold, in days.
const longestSpan = 106_751

// String is [pflag.Value]. Nothing is "0", which the help leaves out.
func (s *span) String() string {
	if *s == 0 {
		return "0"
	}
	return openimds.Brief(time.Duration(*s))
}

// Type is [pflag.Value].
func (s *span) Type() string { return "duration" }

// Set is [pflag.Value].
func (s *span) Set(text string) error {
	days, rest, found := strings.Cut(text, "d")
	if !found {
		days, rest = "0", text
	}
	tooLong := fmt.Errorf("that is too long: the most is %dd", longestSpan)
	n, err := strconv.ParseUint(days, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) || err == nil && n > longestSpan:
		return tooLong
	case err != nil:
		return errNoSpan
	}
	whole := time.Duration(n) * 24 * time.Hour
	if rest != "" || !found {
		part, err := time.ParseDuration(rest)
		switch {
		case err != nil && rest != "" && spanForm.MatchString(rest), found && part < 0 && err == nil, whole+part < whole && part > 0:
			return tooLong
		case err != nil:
			return errNoSpan
		}
		whole += part
	}
	*s = span(whole)
	return nil
}

// spanVar adds a flag that is a duration.
func spanVar(f *pflag.FlagSet, to *time.Duration, name string, value time.Duration, usage string) {
	*to = value
	f.Var((*span)(to), name, usage)
}

// portion is a share of something, 0 to 1: the one form of all flags that take a share, in percent ("10%") or as
// a fraction ("0.1"). A number above 1 without a % is refused, since nobody can tell what it means.
type portion float64

// String is [pflag.Value].
func (p *portion) String() string {
	if *p == 0 {
		return "0"
	}
	return strconv.FormatFloat(float64(*p)*100, 'g', 4, 64) + "%"
}

// Type is [pflag.Value].
func (p *portion) Type() string { return "share" }

// Set is [pflag.Value].
func (p *portion) Set(text string) error {
	number, percent := strings.CutSuffix(text, "%")
	n, err := strconv.ParseFloat(number, 64)
	most := 1.0
	if percent {
		most = 100
	}
	switch {
	case err == nil && !percent && n > 1 && n <= 100:
		return fmt.Errorf("a share above 1 is in percent: write %s%%", number)
	case err != nil || !(n >= 0 && n <= most): // not a NaN either
		return errors.New("a share is in percent (10%), or a fraction of 0 to 1 (0.1)")
	}
	*p = portion(n / most)
	return nil
}

// plainly is an error of a flag's value in words for people, not in those of the parser.
func plainly(err error) error {
	wrong := &pflag.InvalidValueError{}
	if !errors.As(err, &wrong) {
		return err
	}
	what := ofType(wrong.GetFlag(), nil)
	if what == nil {
		return err
	}
	return fmt.Errorf("invalid argument %q for \"--%s\" flag: %w", wrong.GetValue(), wrong.GetFlag().Name, what)
}

// ofType is what a flag of a type that the library parses takes; of another type, the error is good as it is.
func ofType(f *pflag.Flag, err error) error {
	switch f.Value.Type() {
	case "int", "uint", "int32", "uint32", "int64", "uint64", "uint16":
		return errors.New("it takes a whole number")
	case "float64":
		return errors.New("it takes a number")
	case "bool":
		return errors.New("it is true or false")
	}
	return err
}
