package main

import (
	"fmt"
	"strings"
	"time"
)

// fleetReport writes what was found out as Markdown, and what could not be.
func fleetReport(all []fleetFigures, failed error) string {
	var b strings.Builder
	if failed != nil {
		fmt.Fprintf(&b, "Not measured: %v.\n\n", failed)
	}
	of := func(f *fleetFigures) string {
		return fmt.Sprintf("%s × %s, %s", grouped(f.hosts), grouped(f.each), f.store)
	}
	table := func(title, words string, columns []string, row func(*fleetFigures) []string) {
		fmt.Fprintf(&b, "### %s\n\n%s\n\n| hosts × instances, store | %s |\n|---|%s\n", title, words, strings.Join(columns, " | "), strings.Repeat("---:|", len(columns)))
		for i := range all {
			fmt.Fprintf(&b, "| %s | %s |\n", of(&all[i]), strings.Join(row(&all[i]), " | "))
		}
		b.WriteString("\n")
	}
	table("Agents at a replica: memory, and at rest", "MiB; *without files* is what is not the program's or the store's file. The last two are bytes a second for each host.",
		[]string{"before the first host", "without files", "at rest", "without files", "KiB of each host", "bytes of each instance", "after the restart", "the most", "CPU at rest", "sent", "told"},
		func(f *fleetFigures) []string {
			grown := float64(f.atRest.anon - f.alone.anon)
			return []string{
				mib(f.alone.resident), mib(f.alone.anon), mib(f.atRest.resident), mib(f.atRest.anon),
				fmt.Sprintf("%.0f", grown/1024/float64(f.hosts)), fmt.Sprintf("%.0f", grown/float64(f.hosts*f.each)),
				mib(f.afterwards.anon), mib(f.peak),
				fmt.Sprintf("%.1f %%", 100*f.rest.cpu), fmt.Sprintf("%.0f", f.rest.sent), fmt.Sprintf("%.0f", f.rest.told),
			}
		})
	table("Under changes", "Changes of options by the control API, until the instance's host had them and had marked them as applied: first at a rate, by as many clients as it takes, then by 8 clients as many as go. Of each change: the replica's CPU, and what all hosts together were sent, both beyond what they take at rest. Latency is from the API's answer to the host.",
		[]string{"changes a second", "CPU", "bytes", "records", "strangers", "p50", "p99", "8 clients: changes a second", "CPU", "p50", "p99", "failed"},
		func(f *fleetFigures) []string {
			c, r := &f.paced, &f.rush
			return []string{
				fmt.Sprintf("%.0f", float64(c.changes)/c.took.Seconds()), short(c.cpu), fmt.Sprintf("%.0f", c.sent), fmt.Sprintf("%.2f", c.records),
				fmt.Sprint(c.strangers + r.strangers), fmt.Sprintf("%.1f ms", quantile(c.milliseconds, 0.5)), fmt.Sprintf("%.1f ms", quantile(c.milliseconds, 0.99)),
				fmt.Sprintf("%.0f", float64(r.changes)/r.took.Seconds()), short(r.cpu), fmt.Sprintf("%.1f ms", quantile(r.milliseconds, 0.5)), fmt.Sprintf("%.1f ms", quantile(r.milliseconds, 0.99)),
				fmt.Sprint(c.failed + r.failed),
			}
		})
	columns := []string{"first", "half", "last", "CPU", "sent", "records", "connections", "in one second", "in vain"}
	row := func(w *following) []string {
		return []string{
			short(w.first), short(w.middle), short(w.last), short(w.cpu), fmt.Sprintf("%.1f MB", float64(w.bytes)/1e6),
			grouped(int(w.records)), grouped(w.connections), grouped(w.peak), grouped(w.failed),
		}
	}
	table("All agents follow for the first time", "From when all of them begin, at once, each with nothing. Then each tells of its seats and how far its attachments are.",
		append(columns, "all have told", "CPU"), func(f *fleetFigures) []string { return append(row(&f.first), short(f.seats), short(f.seatsCPU)) })
	table("All agents follow again after the replica was restarted", "From the start of the replica's process; *answers* is when its control API does. Agents try as they do, whenever their pauses end.",
		append([]string{"answers"}, columns...), func(f *fleetFigures) []string { return append([]string{short(f.restartStart)}, row(&f.restart)...) })
	fmt.Fprintf(&b, "### The API of that replica\n\nThe first call after the start, the second, and the CPU of that.\n\n| hosts × instances, store |")
	for _, c := range all[0].calls {
		fmt.Fprintf(&b, " %s |", c.name)
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(all[0].calls)) + "\n")
	for i := range all {
		fmt.Fprintf(&b, "| %s |", of(&all[i]))
		for _, c := range all[i].calls {
			if c.failure != "" {
				fmt.Fprintf(&b, " %s |", c.failure)
				continue
			}
			fmt.Fprintf(&b, " %s, %s, %s |", short(c.first), short(c.second), short(c.cpu))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	return b.String()
}

func mib(n int64) string { return fmt.Sprintf("%.0f", float64(n)/(1<<20)) }

// short is a time in three digits or so.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
