package report

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/printable"
)

//go:embed report.html
var page string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"stamp": func(t time.Time) string {
		if t.IsZero() {
			return "–"
		}
		return stamp(t)
	},
	"number": func(n *int64) string {
		if n == nil {
			return "unknown"
		}
		return fmt.Sprint(*n)
	},
	"inc":     func(n int) int { return n + 1 },
	"seconds": func(n int64) string { return spell(time.Duration(n) * time.Second) },
	"join":    func(words []string) string { return strings.Join(words, ", ") },
	"class":   func(word any) string { return strings.ReplaceAll(fmt.Sprint(word), " ", "-") },
	"plural": func(n int, one string) string {
		if n == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %ss", n, one)
	},
}).Parse(page))

// written is a report as the template has it.
type written struct {
	*Report
	Count int
	each  All
	err   error
}

// All passes instances on, in the order of the report, each time that it is called; an error of pass ends it.
type All func(pass func(Instance) error) error

var errEnough = errors.New("no more instances are asked for")

// Numbered are the instances with their places. What ends them early is in err.
func (w *written) Numbered() iter.Seq2[int, Instance] {
	return func(yield func(int, Instance) bool) {
		place := 0
		w.err = w.each(func(one Instance) error {
			if !yield(place, one) {
				return errEnough
			}
			place++
			return nil
		})
	}
}

// Unfinished is the error by which the template ends where instances have.
func (w *written) Unfinished() (string, error) { return "", w.err }

// HTML is the report as one file that needs nothing else: no script, no other file, no network.
func (r *Report) HTML() ([]byte, error) {
	var b bytes.Buffer
	err := r.WriteHTML(&b, r.all)
	return b.Bytes(), err
}

// WriteHTML writes what HTML is, of a report whose instances somebody else keeps.
func (r *Report) WriteHTML(w io.Writer, all All) error {
	count := 0
	for _, n := range r.Totals {
		count += n
	}
	return pageTemplate.Execute(printable.NewWriter(w), &written{Report: r, Count: count, each: all}) // what could turn or hide what is read is escaped
}

func (r *Report) all(pass func(Instance) error) error {
	for _, one := range r.Instances {
		if err := pass(one); err != nil {
			return err
		}
	}
	return nil
}

// spell is a time in the largest units that tell it.
func spell(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == 0:
		return "nothing"
	case d%day == 0 && d == day:
		return "1 day"
	case d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	}
	return openimds.Brief(d)
}

// CallersKnown says whether the service names callers at all.
func (i Instance) CallersKnown() bool { return i.Callers != nil }
