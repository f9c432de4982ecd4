package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// document is where the report stands, seen from this directory.
const document = "../docs/BENCHMARKS.md"

// publish prints what a part of the run found out and, if wanted, puts it into the document: between
// the line that says so and the next such line.
func publish(part, text string, write bool) error {
	fmt.Print(text)
	if !write {
		return nil
	}
	old, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	mark := fmt.Sprintf("<!-- Below: made by bench/run -write -parts %s. -->\n", part)
	head, tail, ok := bytes.Cut(old, []byte(mark))
	if !ok {
		return fmt.Errorf("%s has no line %q", document, strings.TrimSpace(mark))
	}
	_, next, more := bytes.Cut(tail, []byte("\n## "))
	if more {
		next = append([]byte("\n## "), next...)
	}
	return os.WriteFile(document, slices.Concat(head, []byte(mark+"\n"+text), next), 0o644)
}

// report is what was found out on loopback.
type report struct {
	settings
	starts       []start
	pinned, free *comparison
}

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d clients, %d rounds of %v. Medians of the rounds, in brackets the least and the most.\n\n", r.clients, r.rounds, r.duration)
	b.WriteString("### CPU time of the server for a request\n\nMicroseconds, user and system. The server has one core, wrk another.\n")
	r.table(&b, r.pinned, func(f *figures) []float64 { return f.cpu }, "%.1f", "nginx, deferred")
	b.WriteString("### Requests a second\n\nServer and wrk share all cores.\n")
	r.table(&b, r.free, func(f *figures) []float64 { return f.rate }, "%.0f", "nginx")
	b.WriteString("### Latency, median\n\nMicroseconds, from sending the request to the end of the answer.\n")
	r.table(&b, r.free, func(f *figures) []float64 { return f.p50 }, "%.0f", "nginx")
	b.WriteString("### Latency, 99th percentile\n\nMicroseconds.\n")
	r.table(&b, r.free, func(f *figures) []float64 { return f.p99 }, "%.0f", "nginx")
	r.memory(&b)
	r.start(&b)
	return b.String()
}

// table shows one kind of figure for all servers: the median of the rounds, the least and the most,
// and how it compares with a reference of the same run.
func (r *report) table(b *strings.Builder, c *comparison, pick func(*figures) []float64, format, reference string) {
	if c.results[reference] == nil {
		reference = "net/http, bare handler"
	}
	fmt.Fprintf(b, "Ratio: to %s.\n\n| |", reference)
	for _, sc := range scenarios() {
		fmt.Fprintf(b, " %s | ratio |", sc.name)
	}
	fmt.Fprintf(b, "\n|---|%s\n", strings.Repeat("---:|---:|", len(scenarios())))
	for _, s := range c.servers {
		fmt.Fprintf(b, "| %s |", s.name)
		for _, sc := range scenarios() {
			f := c.results[s.name][sc.name]
			if f == nil {
				fmt.Fprint(b, " | |")
				continue
			}
			values := pick(f)
			fmt.Fprintf(b, " "+format+" ("+format+"–"+format+") | %.2f |", median(values), slices.Min(values), slices.Max(values),
				median(values)/median(pick(c.results[reference][sc.name])))
		}
		fmt.Fprintln(b)
	}
	fmt.Fprintln(b)
}

func (r *report) memory(b *strings.Builder) {
	const mib = 1 << 20
	b.WriteString("### Memory\n\nMiB. Resident memory also counts the pages of the program's and the store's files.\n\n")
	b.WriteString("| | before the first request | without files | after the last | without files |\n|---|---:|---:|---:|---:|\n")
	for _, s := range r.pinned.servers {
		after := r.pinned.after[s.name]
		fmt.Fprintf(b, "| %s | %.1f | %.1f | %.1f | %.1f |\n", s.name,
			float64(s.idle.resident)/mib, float64(s.idle.anon)/mib, float64(after.resident)/mib, float64(after.anon)/mib)
	}
	fmt.Fprintln(b)
	var alone []*server
	for _, s := range r.pinned.servers {
		if s.few {
			alone = append(alone, s)
		}
	}
	if len(alone) == 2 {
		each := float64(alone[1].idle.resident-alone[0].idle.resident) / float64(r.instances-1)
		fmt.Fprintf(b, "Of %s instances that are served, each takes %.0f bytes. A full collection of the heap takes %.2f s of CPU.\n\n",
			grouped(r.instances), each, alone[1].collection.Seconds())
	}
}

func (r *report) start(b *strings.Builder) {
	b.WriteString("### From the start to the first answer\n\n| | milliseconds |\n|---|---:|\n")
	for _, s := range r.starts {
		fmt.Fprintf(b, "| %s | %.1f (%.1f–%.1f) |\n", s.what, 1e3*median(s.seconds), 1e3*slices.Min(s.seconds), 1e3*slices.Max(s.seconds))
	}
}

// grouped writes a number with commas.
func grouped(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
