package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/recording"
	"github.com/openimds/openimds/safefile"
	"github.com/spf13/cobra"
)

// crawlTime is how long a crawl may take. A recording of the largest size needs a minute.
const crawlTime = 5 * time.Minute

// crawlFlags say how a metadata service is crawled.
type crawlFlags struct {
	userData bool
	allowV1  bool
	rate     int
}

func (c *crawlFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&c.userData, "with-user-data", false, "keep the user data too, which often holds secrets")
	f.BoolVar(&c.allowV1, "allow-v1", false, "go on without a session token if the service gives none")
	f.IntVar(&c.rate, "rate", 50, "requests a second, 1 to 1000")
}

func newRecord() *cobra.Command {
	var crawl crawlFlags
	var file string
	cmd := &cobra.Command{
		Use:   "record [URL]",
		Short: "Record what an instance's metadata service answers",
		Long: `Record what an instance's metadata service answers, as one JSON document on standard output. Run it
on the instance; without a URL it asks $AWS_EC2_METADATA_SERVICE_ENDPOINT, else http://169.254.169.254.

Secret keys and session tokens of roles are replaced by worthless values, and user data is left out
unless --with-user-data is given. All else is kept as it is: account, addresses, names, tags. Look at
the document before you give it away.`,
		Example: `  openimds record > tree.json
  openimds serve --replay tree.json`,
		Args: names(0, 1, "at most one URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			address := cmp.Or(os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"), "http://169.254.169.254")
			if len(args) > 0 {
				address = args[0]
			}
			record := func(w io.Writer) error {
				r, err := crawl.run(cmd, address)
				if err != nil {
					return err
				}
				text, err := recording.Encode(r)
				if err == nil {
					_, err = w.Write(text)
				}
				return err
			}
			if file == "" || file == "-" {
				return record(cmd.OutOrStdout())
			}
			f, err := safefile.Create(file, 0o600)
			if err != nil {
				return fmt.Errorf("cannot write --output: %w", err)
			}
			defer f.Discard()
			if err := record(f); err != nil {
				return err
			}
			if err := f.Place(); err != nil {
				return fmt.Errorf("cannot write --output: %w", err)
			}
			return nil
		},
	}
	crawl.add(cmd)
	cmd.Flags().StringVarP(&file, "output", "o", "", "`file` to write to, readable by its owner only (default: standard output)")
	return cmd
}

// run crawls a service until Ctrl-C, and tells on standard error what it could not or would not keep.
func (c *crawlFlags) run(cmd *cobra.Command, address string) (*openimds.Recording, error) {
	if c.rate < 1 || c.rate > 1000 {
		return nil, usagef("--rate must be 1 to 1000 requests a second, not %d", c.rate)
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, crawlTime)
	defer cancel()
	r, report, err := recording.Crawl(ctx, recording.Config{
		URL: strings.TrimSuffix(address, "/"), UserData: c.userData, AllowV1: c.allowV1, Rate: c.rate, Agent: "openimds-record/" + version,
	})
	if err != nil {
		return nil, explainCrawl(err)
	}
	w := cmd.ErrOrStderr()
	_ = say(w, "recorded %d items, %d bytes, from %s\n", len(r.Items), r.Size(), r.Source)
	tellCrawl(w, r, report)
	return r, nil
}

func tellCrawl(w io.Writer, r *openimds.Recording, report *recording.Report) {
	line := func(format string, args ...any) { _ = say(w, format+"\n", args...) }
	if report.V1 {
		line("without a session: the service gives no token")
	}
	for _, path := range report.Blanked {
		line("blanked: %s", path)
	}
	for i := range r.Items {
		if r.Items[i].State == openimds.RecordedWithheld {
			line("left out: /%s; --with-user-data keeps it", r.Items[i].Path)
		}
	}
	for _, path := range report.Absent {
		line("listed, but not there: %s", path)
	}
	for _, what := range report.Skipped {
		line("skipped: %s", what)
	}
}

// readRecording reads the file of a recording; "-" is standard input.
func readRecording(cmd *cobra.Command, file string) (*openimds.Recording, error) {
	text, err := readInput(cmd, file, recording.MaxFile)
	if err != nil {
		return nil, err
	}
	r, err := recording.Decode(text)
	if err != nil {
		return nil, usagef("%s: %w", file, err)
	}
	return r, nil
}

// explainCrawl adds what to do about a crawl that failed.
func explainCrawl(err error) error {
	switch {
	case errors.Is(err, recording.ErrBadURL):
		return usageError{err}
	case errors.Is(err, recording.ErrNoToken):
		return fmt.Errorf("%w; is it turned off, or does it know version 1 only (then: --allow-v1)?", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w; is this an instance, and does the hop limit of its metadata options reach to here?", err)
	}
	return err
}
