package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/trace"
	"github.com/openimds/openimds/trace/prom"
	"github.com/spf13/cobra"
)

const traceHelp = `Show which processes of this machine call the metadata service, and who of them by IMDSv1. It needs no openimds
and no help of the service: run it as root on an instance of EC2 or Lightsail, on a host of containers, or on a
host of openimds.

What is watched are the addresses of the service, port 80: 169.254.169.254 and fd00:ec2::254, and those that give
credentials to containers. Calls of other addresses, such as 127.0.0.1:1338 of 'openimds serve', do not appear.

Each call is a line: date and time (UTC), version (v1, v2, v2-token: asks for a session token), method, path, status, then the process
with its user, container or unit, package and command line. Calls of the addresses that give credentials to containers
(169.254.170.2, 169.254.170.23, fd00:ec2::23) are shown as container-credentials. With -o json a line is an
object; {"gap": ...} tells what was not seen, whose callers are unknown.

With --summary a row is one program, user and unit or container, with its calls: V1 without a session token, OF THEM REFUSED
those answered with 401 or 403, V2 with a token, TOKENS requests for one, OTHER calls of services without versions (those
for containers), UNKNOWN calls of which not enough was seen to tell. WHERE is the pod, container or unit, COMMAND LINE that
of the last call by V1, or else of the last call.

Tokens are not kept, and what looks like a secret in a command line, path or user agent is shown as [hidden].

It looks on by eBPF (Linux 5.8 and later; CAP_BPF and CAP_NET_ADMIN, for names also CAP_PERFMON, CAP_SYS_PTRACE and
CAP_DAC_READ_SEARCH), else by a packet socket, which sees this network namespace alone. It delays no call and changes none.
Virtual machines are no processes of this machine: for those that openimds serves see 'openimds callers'.`

// lastNames is how long a trace that was ended names what it has seen.
const lastNames = 2 * time.Second

// mostTraced is how many callers a trace adds up.
const mostTraced = 10_000

// tracing is a trace as the command line wants it.
type tracing struct {
	lasting    span
	output     string
	summary    bool
	v1         bool
	packets    bool
	maxCPU     float64
	prometheus string
	readyFile  string

	sum *trace.Summary
	out io.Writer
	err error // of the first line that could not be written; ends the trace
}

func newTrace() *cobra.Command {
	t := &tracing{}
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Show which processes of this machine call a metadata service",
		Long:  traceHelp,
		Example: `  openimds trace --v1
  openimds trace --for 24h --summary
  openimds trace -o json --prometheus 127.0.0.1:9338`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.run(cmd) },
	}
	f := cmd.Flags()
	f.Var(&t.lasting, "for", "end after this `duration` (90s, 24h, 7d); 0: at Ctrl-C")
	f.StringVarP(&t.output, "output", "o", "table", "form of the output: table (lines for people) or json (lines of JSON)")
	f.BoolVar(&t.summary, "summary", false, "show no calls, but at the end who called how often")
	f.BoolVar(&t.v1, "v1", false, "show only calls without a session token, and those of which the version is unknown")
	f.StringVar(&t.prometheus, "prometheus", "", "serve the numbers of calls by caller at `ADDR` (host:port; without a host only for this machine), path /metrics")
	f.Float64Var(&t.maxCPU, "max-cpu", 20, "the most CPU time to take, in `percent` of one core over ten seconds; above it only a sample of connections is looked at. 0: no limit")
	f.BoolVar(&t.packets, "packets", false, "look on by a packet socket although eBPF could be used")
	f.StringVar(&t.readyFile, "ready-file", "", "`file` to write when it looks on")
	return cmd
}

func (t *tracing) check() error {
	switch {
	case t.output != "table" && t.output != "json":
		return usagef("--output must be table or json, not %q", t.output)
	case t.lasting < 0:
		return usagef("--for cannot be negative")
	case !(t.maxCPU >= 0 && t.maxCPU <= 100_000):
		return usagef("--max-cpu must be a number of percent of one core, 0 or more")
	}
	return nil
}

func (t *tracing) run(cmd *cobra.Command) error {
	if err := t.check(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if t.lasting > 0 {
		var end context.CancelFunc
		ctx, end = context.WithTimeout(ctx, time.Duration(t.lasting))
		defer end()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.out, t.sum = cmd.OutOrStdout(), trace.NewSummary(mostTraced)
	if t.prometheus != "" {
		closing, err := t.serveMetrics()
		if err != nil {
			return err
		}
		defer closing()
	}
	failed := func(err error) {
		if err != nil && t.err == nil {
			t.err = err
			cancel()
		}
	}
	err := trace.Run(ctx, trace.Config{
		MaxCPU: t.maxCPU / 100, Packets: t.packets, Last: lastNames,
		Call:  func(c trace.Call) { t.sum.Add(c); failed(t.show(c)) },
		Gap:   func(g trace.Gap) { t.sum.Miss(g); failed(t.showGap(cmd.ErrOrStderr(), g)) },
		Note:  func(text string) { failed(say(cmd.ErrOrStderr(), "openimds: %s\n", text)) },
		Ready: func() { failed(t.ready()) },
	})
	if err == nil {
		err = t.err
	}
	if err != nil {
		return err
	}
	report := t.sum.Report(time.Now())
	if t.summary {
		err = t.showSummary(report)
	}
	if err == nil && t.output != "json" {
		err = say(cmd.ErrOrStderr(), "openimds: %s\n", countLine(report))
	}
	return err
}

func (t *tracing) ready() error {
	if t.readyFile == "" {
		return nil
	}
	return safefile.Write(t.readyFile, []byte("trace=ready\n"), 0o644)
}

// serveMetrics serves the metrics until it is closed.
func (t *tracing) serveMetrics() (closing func(), err error) {
	host, port, err := net.SplitHostPort(t.prometheus)
	if err != nil {
		return nil, usagef("--prometheus %q is not of the form host:port", t.prometheus)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, cannotListen("--prometheus", t.prometheus, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", prom.Handler(t.sum))
	server := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10}
	go func() { _ = server.Serve(l) }()
	return func() { _ = server.Close() }, nil
}

// cannotListen says why an address that a flag names cannot be listened at, and what to write.
func cannotListen(flag, addr string, err error) error {
	why := err.Error()
	if failed, ok := errors.AsType[*net.OpError](err); ok {
		why = failed.Err.Error()
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		why = "is in use by another program; give another port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		why = "is no address of this machine"
	}
	return fmt.Errorf("%s %s %s", flag, addr, why)
}

func (t *tracing) show(c trace.Call) error {
	if t.summary || t.v1 && c.Version != trace.V1 && c.Version != trace.Unknown {
		return nil
	}
	if t.output == "json" {
		return t.jsonLine(c)
	}
	return say(t.out, "%s\n", callLine(c))
}

func (t *tracing) jsonLine(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = t.out.Write(append(text, '\n'))
	return err
}

func (t *tracing) showGap(errs io.Writer, g trace.Gap) error {
	if t.output == "json" && !t.summary {
		return t.jsonLine(struct {
			Gap trace.Gap `json:"gap"`
		}{g})
	}
	return say(errs, "openimds: %s\n", gapLine(g))
}

func (t *tracing) showSummary(r trace.Report) error {
	if t.output == "json" {
		return t.jsonLine(r)
	}
	err := printTable(t.out, func(row func(...any)) {
		row("V1", "OF THEM REFUSED", "V2", "TOKENS", "OTHER", "UNKNOWN", "LAST V1", "PROCESS", "USER", "WHERE", "PACKAGE", "PATHS", "COMMAND LINE")
		for _, c := range r.Callers {
			last := "-"
			if !c.LastV1.IsZero() {
				last = c.LastV1.UTC().Format(time.DateTime)
			}
			row(c.V1, c.V1Refused, c.V2, c.Tokens, c.Other, c.Unknown, last, c.Who(), dash(userOf(c.Example)), dash(placeOfProcess(c.Example)),
				dash(c.Example.Package), dash(pathsOf(c)), dash(commandLine(c.Example)))
		}
	})
	if err == nil {
		err = t.showHints(r)
	}
	return err
}
