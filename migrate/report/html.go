package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
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

// HTML is the report as one file that needs nothing else: no script, no other file, no network.
func (r *Report) HTML() ([]byte, error) {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, r); err != nil {
		return nil, err
	}
	return append(bytes.TrimSpace(printable.Text(b.Bytes())), '\n'), nil // what could turn or hide what is read is escaped
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
