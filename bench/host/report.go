package main

import (
	"fmt"
	"io"
)

// report writes what was found out as Markdown.
func (b *bench) report(w io.Writer) {
	fmt.Fprintf(w, "### Attached: from the call that attaches to the guest's first answer\n\nMilliseconds; the guest tries each millisecond. To reach: p99 of 100 ms.\n\n")
	fmt.Fprintf(w, "| guest | attached | p50 | p99 | most | the call alone, p50 | p99 |\n|---|---:|---:|---:|---:|---:|---:|\n")
	for _, f := range b.first {
		fmt.Fprintf(w, "| %s | %d times | %s | %s | %s | %s | %s |\n", f.kind, len(f.answers),
			ms(f.answers, 0.5), ms(f.answers, 0.99), ms(f.answers, 1), ms(f.calls, 0.5), ms(f.calls, 0.99))
	}
	fmt.Fprintf(w, "\n### Many attachments on one host\n\nMemory is the process's own (RssAnon), beyond one that has as many instances in its store and none attached.\nTo reach: 64 KiB; made again at the start within 10 s (1,000) and 60 s (10,000).\nOne more is an interface (veth), in milliseconds.\n\n")
	fmt.Fprintf(w, "| attached | KiB of each | made again at the start | the end | CPU when idle | one more: first answer, p50 | p99 | call to detach, p50 | p99 |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, c := range b.crowds {
		fmt.Fprintf(w, "| %d %s | %.1f | %.1f s | %.1f s | %.1f %% of a core | %s | %s | %s | %s |\n", c.count, c.kind, c.idle/1024,
			c.remade.Seconds(), c.ended.Seconds(), 100*c.cpu, ms(c.more, 0.5), ms(c.more, 0.99), ms(c.detach, 0.5), ms(c.detach, 0.99))
	}
	fmt.Fprintf(w, "\n### Boot storm\n\nNamespaces that do at once what cloud-init does at boot: a token, instance id, user data, all of meta-data and the identity\ndocuments, a connection for each request. Server and guests share all cores. To reach: no failure, p99 of 250 ms.\n\n")
	fmt.Fprintf(w, "| round | guests | requests | failed | wrong instance | all done after | p50 | p99 | most |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for i, s := range b.storm {
		fmt.Fprintf(w, "| %d | %d | %d | %d | %d | %.1f s | %s ms | %s ms | %s ms |\n", i+1, s.guests, s.requests, s.failures, s.wrong, s.took.Seconds(),
			ms(s.seconds, 0.5), ms(s.seconds, 0.99), ms(s.seconds, 1))
	}
	fmt.Fprintln(w)
}

func ms(seconds []float64, q float64) string { return fmt.Sprintf("%.1f", 1e3*quantile(seconds, q)) }
