package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
)

// confirmDays is how far back callers without a token are looked for before tokens are required.
const confirmDays = 14

// refusedCaller is who called an instance without a token, and would be refused.
type refusedCaller struct {
	instance, source, userAgent string // without the last two: the control API does not say who
	calls                       int64
	last                        awsjson.Epoch
}

func (r refusedCaller) String() string {
	who := "callers that this control API does not name"
	if r.source != "" {
		who = strings.TrimSpace(r.source + " " + r.userAgent)
	}
	return fmt.Sprintf("%s: %s (%s)", r.instance, who, counted(int(r.calls), "call"))
}

// confirmTokens names who would be refused where tokens are required, and of whom that is not known, and asks whether
// that is meant. Where only a part of the time was watched it says so, and goes on: so it is of every new instance.
func confirmTokens(cmd *cobra.Command, api *client.Client, names []string, yes bool) error {
	var refused []refusedCaller
	var unknown []string
	var partly bytes.Buffer
	for _, name := range names {
		found, why, err := callersToRefuse(cmd.Context(), &partly, api, name)
		if err != nil {
			return err
		}
		refused = append(refused, found...)
		if why != "" {
			unknown = append(unknown, name+": "+why)
		}
	}
	ask := !yes && len(refused)+len(unknown) > 0
	switch {
	case !ask || canAsk(cmd.InOrStdin()):
	case len(refused) > 0:
		return fmt.Errorf("nothing was changed: in the last %d days these called without a token: %s; give --yes to have such calls refused", confirmDays, listed(refused))
	default:
		return fmt.Errorf("nothing was changed: it is not known who called without a token: %s; give --yes to have such calls refused", firstOf(unknown))
	}
	errs := cmd.ErrOrStderr()
	if _, err := errs.Write(partly.Bytes()); err != nil {
		return err
	}
	for _, what := range unknown {
		if err := say(errs, "openimds: it is not known who called without a token: %s\n", what); err != nil {
			return err
		}
	}
	if err := sayRefused(errs, refused); err != nil || !ask {
		return err
	}
	return askYes(cmd.InOrStdin(), errs, "Require tokens all the same?")
}

// sayRefused shows who will be refused, if anybody.
func sayRefused(errs io.Writer, refused []refusedCaller) error {
	if len(refused) == 0 {
		return nil
	}
	if err := say(errs, "openimds: these called without a token in the last %d days, and will be refused:\n", confirmDays); err != nil {
		return err
	}
	return printTable(errs, func(row func(...any)) {
		row("INSTANCE", "SOURCE", "CALLS", "LAST CALL", "USER AGENT")
		for _, r := range refused {
			row(r.instance, dash(r.source), r.calls, when(r.last), dash(r.userAgent))
		}
	})
}

// mostListed is how many one line lists.
const mostListed = 5

// firstOf are the first of some texts, in one line.
func firstOf(texts []string) string {
	line := strings.Join(texts[:min(len(texts), mostListed)], "; ")
	if more := len(texts) - mostListed; more > 0 {
		line += fmt.Sprintf("; and of %d more", more)
	}
	return line
}

// listed are the first of them, in one line.
func listed(refused []refusedCaller) string {
	var words []string
	for _, r := range refused[:min(len(refused), mostListed)] {
		words = append(words, r.String())
	}
	if more := len(refused) - mostListed; more > 0 {
		words = append(words, fmt.Sprintf("and %d more ('openimds callers --v1 --since %dd')", more, confirmDays))
	}
	return strings.Join(words, ", ")
}

// callersToRefuse are those of an instance whose tokens are optional still, and why they are not known. What is not
// there is the change's to refuse; where only a part of the time was watched is written to partly.
func callersToRefuse(ctx context.Context, partly io.Writer, api *client.Client, name string) (found []refusedCaller, unknown string, err error) {
	in, err := client.Call(ctx, api, wire.GetInstance, wire.GetInstanceRequest{InstanceName: name})
	refused, answered := errors.AsType[*client.Error](err)
	switch {
	case answered && refused.NotFound():
		return nil, "", nil
	case err != nil:
		return nil, err.Error(), ctx.Err()
	case in.Instance.MetadataOptions.HTTPTokens == openimds.TokensRequired:
		return nil, "", nil
	}
	since := time.Now().AddDate(0, 0, -confirmDays).Truncate(time.Millisecond)
	found, known, err := withoutToken(ctx, api, name, since)
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.Exception == "UnknownOperationException" {
		found, unknown, err = countedWithoutToken(ctx, api, name, since, in.Instance.CreatedAt.Time)
	}
	switch {
	case err != nil:
		return nil, err.Error(), ctx.Err()
	case len(found) > 0 || unknown != "":
		return found, unknown, nil
	}
	return nil, "", sayKnown(partly, "openimds: ", slices.DeleteFunc(known, func(k wire.Known) bool { return k.Complete }))
}

// withoutToken reads who came without a token, each caller once, and how far that is known.
func withoutToken(ctx context.Context, api *client.Client, name string, since time.Time) (found []refusedCaller, known []wire.Known, err error) {
	for page, err := range client.Pages(ctx, api, wire.GetCallers, wire.GetCallersRequest{InstanceName: name, Since: awsjson.At(since)}) {
		if err != nil {
			return nil, nil, err
		}
		known = append(known, page.Known...)
		for _, c := range page.Callers {
			if openimds.V1Calls(c.Counts) == 0 {
				continue
			}
			at := slices.IndexFunc(found, func(r refusedCaller) bool { return r.source == c.Source && r.userAgent == c.UserAgent })
			if at < 0 {
				at = len(found)
				found = append(found, refusedCaller{instance: name, source: c.Source, userAgent: c.UserAgent})
			}
			found[at].calls += openimds.V1Calls(c.Counts)
			if last := c.LastWithoutToken; last != nil && last.After(found[at].last.Time) {
				found[at].last = *last
			}
		}
	}
	return found, known, nil
}

// countedWithoutToken reads how many calls came without a token, of a control API that does not say whose they were. A
// day of an instance without a sample may have had any.
func countedWithoutToken(ctx context.Context, api *client.Client, name string, since, created time.Time) (found []refusedCaller, unknown string, err error) {
	const day = 24 * time.Hour
	answer, err := client.Call(ctx, api, wire.GetInstanceMetricData, wire.GetInstanceMetricDataRequest{
		InstanceName: name, MetricName: openimds.MetricNoToken, Period: new(wire.MetricPeriod(86400)), Unit: "Count",
		StartTime: awsjson.At(since), EndTime: awsjson.At(time.Now()), Statistics: []wire.MetricStatistic{"Sum"},
	})
	if err != nil {
		return nil, "", err
	}
	r := refusedCaller{instance: name}
	days := 0
	for _, point := range answer.MetricData {
		if point.Sum != nil {
			days++
			r.calls += int64(*point.Sum)
		}
	}
	if created.After(since) {
		since = created
	}
	expected := max(int((time.Since(since)+day/2)/day), 1)
	switch {
	case r.calls > 0:
		return []refusedCaller{r}, "", nil
	case days == 0:
		return nil, "the metric " + openimds.MetricNoToken + " has no samples", nil
	case days < expected:
		return nil, fmt.Sprintf("the metric %s has samples of %d of %d days", openimds.MetricNoToken, days, expected), nil
	}
	return nil, "", nil
}

// canAsk says whether there is somebody to ask.
func canAsk(in io.Reader) bool {
	file, ok := in.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	nobody, err := os.Stat(os.DevNull) // which is such a device, too
	return err != nil || !os.SameFile(info, nobody)
}

// askYes returns nil after a yes.
func askYes(in io.Reader, out io.Writer, question string) error {
	if err := say(out, "%s [y/N] ", question); err != nil {
		return err
	}
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(answer))) {
		return errors.New("nothing was changed")
	}
	return nil
}
