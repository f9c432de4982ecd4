package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/attest"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/migrate"
	"github.com/openimds/openimds/migrate/report"
	"github.com/openimds/openimds/safefile"
	"github.com/spf13/cobra"
)

const reportHelp = `Write down how far instances are: of each the time that was watched, its calls, its callers and what there is
to do about them, the history of its options, and the verdict. What is not known is called unknown.

The report is one HTML file without scripts, fit to be printed and signed, or JSON; --out says which by the
end of the file's name, and may be given twice. Without it HTML is printed, and JSON with -o json.

An openimds server signs it, with a key that signs nothing else: 'openimds migrate verify' tells whether a byte
was changed since. A report on Amazon's instances is signed by nobody, and says so.`

// reportFlags are the flags as they were given.
type reportFlags struct {
	criteria criteriaFlags
	plan     string
	journal  string
	out      []string
}

func newMigrateReport(m *migrateFlags) *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use:   "report [NAME…]",
		Short: "Write down how far instances are, for whoever signs off on it",
		Long:  reportHelp,
		Example: `  openimds migrate report --out report.html --out report.json
  openimds migrate report web-1 web-2 --plan plan.yaml > report.html
  openimds migrate report --provider lightsail --all-regions -o json`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, m, args) },
	}
	f.criteria.add(cmd)
	cmd.Flags().StringVar(&f.plan, "plan", "", "`file` with the plan whose criteria, exceptions and journal are part of it")
	cmd.Flags().StringVar(&f.journal, "journal", "", "`file` with what was done (default: the plan's name with .journal behind it)")
	cmd.Flags().StringArrayVar(&f.out, "out", nil, "`file` to write, .html or .json; repeatable")
	return cmd
}

func (f *reportFlags) run(cmd *cobra.Command, m *migrateFlags, args []string) error {
	for _, out := range f.out {
		if end := filepath.Ext(out); end != ".html" && end != ".json" {
			return usagef("--out %s: the name must end in .html or .json", out)
		}
	}
	if err := m.checkOutput(); err != nil {
		return err
	}
	in, err := f.input(cmd.Context(), m)
	if err != nil {
		return err
	}
	var seal func(context.Context, []byte) ([]byte, error)
	if m.provider == "openimds" {
		api, err := m.openIn(cmd.Context(), client.ServiceLightsail, m.location().url, in.Provider.Regions()[:1], 0)
		if err != nil {
			return err
		}
		server := report.OpenIMDS{API: api}
		if in.Installation, err = server.Installation(cmd.Context()); err != nil {
			return err
		}
		seal = server.Seal
		if in.Source, err = m.sources(cmd.Context(), in.Provider.Regions()); err != nil {
			return err
		}
	}
	if in.Instances, err = namedInstances(cmd.Context(), in.Provider, args); err != nil {
		return err
	}
	made, err := report.Make(cmd.Context(), in)
	if err != nil {
		return err
	}
	return f.write(cmd, m, made, seal)
}

// sources tell more of the instances of each of a server's regions.
func (m *migrateFlags) sources(ctx context.Context, regions []string) (report.Source, error) {
	all := report.InRegions{}
	for _, region := range regions {
		api, err := m.openIn(ctx, client.ServiceLightsail, m.location().url, []string{region}, 0)
		if err != nil {
			return nil, err
		}
		all[region] = report.OpenIMDS{API: api}
	}
	return all, nil
}

// input is what the flags say of what the report is made of.
func (f *reportFlags) input(ctx context.Context, m *migrateFlags) (in report.Input, err error) {
	in.Now = time.Now()
	if in.Criteria, err = f.criteria.criteria(); err != nil {
		return in, err
	}
	if f.plan != "" {
		if in.Plan, err = readPlan(f.plan); err != nil {
			return in, err
		}
		if in.Plan.Provider != m.provider {
			return in, usagef("--plan %s is for --provider %s", f.plan, in.Plan.Provider)
		}
		in.Criteria, in.PlanFile = in.Plan.Criteria, filepath.Base(f.plan)
	}
	if f.plan != "" || f.journal != "" {
		file := cmp.Or(f.journal, migrate.JournalOf(f.plan))
		if in.Journal, err = migrate.ReadJournal(file); err != nil && (f.journal != "" || !errors.Is(err, fs.ErrNotExist)) {
			return in, err
		}
	}
	in.Provider, err = m.openProvider(ctx)
	return in, err
}

// write signs the report in each form that is asked for, and writes it.
func (f *reportFlags) write(cmd *cobra.Command, m *migrateFlags, made *report.Report, seal func(context.Context, []byte) ([]byte, error)) error {
	form := func(asJSON bool) ([]byte, error) {
		body, err := made.HTML()
		if asJSON {
			body, err = made.JSON()
		}
		if err != nil || seal == nil {
			return body, err
		}
		return seal(cmd.Context(), body)
	}
	if seal == nil {
		if err := say(cmd.ErrOrStderr(), "openimds: the report is not signed: only an openimds server signs\n"); err != nil {
			return err
		}
	}
	if len(f.out) == 0 {
		text, err := form(m.output == "json")
		if err == nil {
			_, err = cmd.OutOrStdout().Write(text)
		}
		return err
	}
	for _, out := range f.out {
		text, err := form(filepath.Ext(out) == ".json")
		if err != nil {
			return err
		}
		if err := safefile.Write(out, text, 0o644); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	if made.Installation == nil {
		return nil
	}
	return say(cmd.OutOrStdout(), "wrote %s, signed by the key %s\n", strings.Join(f.out, ", "), made.Installation.Key)
}

func newMigrateVerify() *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use:   "verify FILE...",
		Short: "Tell whether reports are what an installation signed",
		Long: `Tell whether reports, HTML or JSON, are byte for byte what was signed by the key of that fingerprint. It asks
nobody: have the fingerprint from the installation itself, by 'openimds migrate key', and not from the report,
in which whoever changes it can put a key of their own.`,
		Example: `  openimds migrate verify report.html report.json --key SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU`,
		Args:    names(1, 0, "at least one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if key != "" && !attest.IsFingerprint(key) {
				return usagef("--key %q is no fingerprint: SHA256: and 43 characters, as 'openimds migrate key' prints it", key)
			}
			for _, name := range args {
				if err := verify(cmd, name, key); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "`fingerprint` of the installation's key, as 'openimds migrate key' prints it")
	return cmd
}

func verify(cmd *cobra.Command, name, key string) error {
	file, err := readInput(cmd, name, attest.MaxFile)
	if err != nil {
		return err
	}
	if key == "" {
		named, err := attest.Named(file)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return usagef("--key is missing: %s names the key %s, which proves nothing unless 'openimds migrate key' of the installation prints the same", name, named)
	}
	stated, err := attest.Verify(file, key)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return say(cmd.OutOrStdout(), "%s: unchanged since it was signed by the installation %s at %s, asked for by %s\n",
		name, stated.Installation, stated.At.UTC().Format(time.DateTime), stated.By)
}

func newMigrateKey(m *migrateFlags) *cobra.Command {
	return &cobra.Command{
		Use:     "key",
		Short:   "Print the key by which an installation's reports are verified",
		Example: `  openimds migrate key`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := m.openIn(cmd.Context(), client.ServiceLightsail, m.location().url, nil, 0)
			if err != nil {
				return err
			}
			key, err := client.Call(cmd.Context(), api, wire.GetReportKey, wire.Nothing{})
			if err != nil {
				return err
			}
			shown := struct {
				Fingerprint string `json:"fingerprint"`
				PublicKey   []byte `json:"publicKey"`
			}{attest.Fingerprint(key.PublicKey), key.PublicKey}
			if m.output == "json" {
				return m.show(cmd.OutOrStdout(), shown, nil)
			}
			return say(cmd.OutOrStdout(), "%s\n", shown.Fingerprint)
		},
	}
}
