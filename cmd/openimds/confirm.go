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

// confirmTokens names who would be refused where tokens are required, and asks whether that is meant. Where it is
// not known who called it says so, and goes on: nobody could answer that by yes or no.
func confirmTokens(cmd *cobra.Command, api *client.Client, names []string, yes bool) error {
	var refused []refusedCaller
	var unknown bytes.Buffer
	for _, name := range names {
		found, err := callersToRefuse(cmd.Context(), &unknown, api, name)
		if err != nil {
			return err
		}
		refused = append(refused, found...)
	}
	if len(refused) > 0 && !yes && !canAsk(cmd.InOrStdin()) {
		return fmt.Errorf("nothing was changed: without a token came, in the last %d days, %s; give --yes to have such calls refused", confirmDays, listed(refused))
	}
	errs := cmd.ErrOrStderr()
	if _, err := errs.Write(unknown.Bytes()); err != nil || len(refused) == 0 {
		return err
	}
	if err := say(errs, "openimds: without a token came, in the last %d days, and will be refused:\n", confirmDays); err != nil {
		return err
	}
	err := printTable(errs, func(row func(...any)) {
		row("INSTANCE", "SOURCE", "CALLS", "LAST CALL", "USER AGENT")
		for _, r := range refused {
			row(r.instance, dash(r.source), r.calls, when(r.last), dash(r.userAgent))
		}
	})
	if err != nil || yes {
		return err
	}
	return askYes(cmd.InOrStdin(), errs, "Require tokens all the same?")
}

// listed are the first of them, in one line.
func listed(refused []refusedCaller) string {
	const most = 5
	var words []string
	for _, r := range refused[:min(len(refused), most)] {
		words = append(words, r.String())
	}
	if more := len(refused) - most; more > 0 {
		words = append(words, fmt.Sprintf("and %d more ('openimds callers --v1 --since %dd')", more, confirmDays))
	}
	return strings.Join(words, ", ")
}

// callersToRefuse are those of an instance whose tokens are optional still. What cannot be looked at is the change's
// to refuse; what is not known is said.
func callersToRefuse(ctx context.Context, unknown io.Writer, api *client.Client, name string) ([]refusedCaller, error) {
	in, err := client.Call(ctx, api, wire.GetInstance, wire.GetInstanceRequest{InstanceName: name})
	if err != nil || in.Instance.MetadataOptions.HTTPTokens == openimds.TokensRequired {
		return nil, nil
	}
	since := time.Now().AddDate(0, 0, -confirmDays).Truncate(time.Millisecond)
	found, known, err := withoutToken(ctx, api, name, since)
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.Exception == "UnknownOperationException" {
		found, err = countedWithoutToken(ctx, api, name, since)
	}
	if err != nil {
		return nil, say(unknown, "openimds: %s: who called without a token is not known: %v\n", name, err)
	}
	if len(found) > 0 {
		return found, nil
	}
	return nil, sayKnown(unknown, "openimds: ", slices.DeleteFunc(known, func(k wire.Known) bool { return k.Complete }))
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

// countedWithoutToken reads how many calls came without a token, of a control API that does not say whose they were.
func countedWithoutToken(ctx context.Context, api *client.Client, name string, since time.Time) ([]refusedCaller, error) {
	answer, err := client.Call(ctx, api, wire.GetInstanceMetricData, wire.GetInstanceMetricDataRequest{
		InstanceName: name, MetricName: openimds.MetricNoToken, Period: new(wire.MetricPeriod(86400)), Unit: "Count",
		StartTime: awsjson.At(since), EndTime: awsjson.At(time.Now()), Statistics: []wire.MetricStatistic{"Sum"},
	})
	if err != nil {
		return nil, err
	}
	r := refusedCaller{instance: name}
	for _, point := range answer.MetricData {
		if point.Sum != nil && *point.Sum > 0 {
			r.calls += int64(*point.Sum)
		}
	}
	if r.calls == 0 {
		return nil, nil
	}
	return []refusedCaller{r}, nil
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
