package main

import (
	"cmp"
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/migrate"
	"github.com/spf13/cobra"
)

// migrateFlags say whose instances are migrated.
type migrateFlags struct {
	clientConfig
	provider   string
	allRegions bool
}

func newMigrate() *cobra.Command {
	var m migrateFlags
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Take instances from IMDSv1 to IMDSv2, here or at Amazon Lightsail, and back",
		Long: `Take instances from IMDSv1 to IMDSv2: see who is ready, write a plan, require tokens in waves, and have an
instance brought back by itself when a caller is refused. Every step stands in a journal before it is done.

With --provider lightsail or ec2 the instances are Amazon's, of the region of --region (several: a,b), of the
profile, or of --all-regions, which name a server's regions too; EC2's are called by their ids. Nothing is changed without
--yes or a yes at the terminal.`,
		Example: `  openimds migrate status
  openimds migrate plan --canary web-1 > plan.yaml
  openimds migrate apply plan.yaml
  openimds migrate apply plan.yaml --yes
  openimds migrate undo plan.yaml --yes`,
		Args: noSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	m.addFlags(cmd)
	f := cmd.PersistentFlags()
	f.StringVar(&m.provider, "provider", "openimds", "whose instances: openimds, lightsail or ec2")
	f.BoolVar(&m.allRegions, "all-regions", false, "all regions of Amazon, or of the server")
	cmd.AddCommand(newMigrateStatus(&m), newMigratePlan(&m), newMigrateApply(&m), newMigrateResume(&m), newMigrateUndo(&m), newMigratePolicy(&m), newMigrateEnforce(&m), newMigrateRehearse(&m), newMigrateReport(&m), newMigrateVerify(), newMigrateKey(&m))
	return cmd
}

// awsAttempts is how often a request is sent to AWS at most: it throttles, and a migration has time.
const awsAttempts = 10

// open makes the provider of the flags.
func (m *migrateFlags) openProvider(ctx context.Context) (migrate.Provider, error) {
	return m.providerOf(ctx, m.provider, m.flagRegions())
}

// flagRegions are those that --region names.
func (m *migrateFlags) flagRegions() []string {
	if m.region == "" {
		return nil
	}
	return strings.Split(m.region, ",")
}

// providerOf makes a provider; without regions it has that of the flags and the configuration.
func (m *migrateFlags) providerOf(ctx context.Context, name string, regions []string) (migrate.Provider, error) {
	switch {
	case name != "openimds" && name != "lightsail" && name != "ec2":
		return nil, usagef("--provider must be openimds, lightsail or ec2, not %q", name)
	case m.allRegions && len(regions) > 0 && m.region != "":
		return nil, usagef("--all-regions and --region exclude each other")
	}
	if m.allRegions {
		var err error
		if regions, err = m.regionsOf(ctx, name, regions[:min(len(regions), 1)]); err != nil {
			return nil, err
		}
	}
	if len(regions) == 0 {
		return m.ofRegion(ctx, name, nil)
	}
	var providers []migrate.Provider
	for _, region := range slices.Compact(slices.Sorted(slices.Values(regions))) {
		p, err := m.ofRegion(ctx, name, []string{region})
		if err != nil {
			return nil, err
		}
		providers = append(providers, p)
	}
	return migrate.InRegions(providers...), nil
}

// openAmazon opens an API of Amazon's, where a variable of AWS's says; a server of openimds has all of them on one address.
func (m *migrateFlags) openAmazon(ctx context.Context, service, variable string, region []string) (*client.Client, error) {
	return m.openIn(ctx, service, cmp.Or(m.endpoint, os.Getenv(variable), amazon), region, awsAttempts)
}

// openControl opens Lightsail's API, Amazon's or a server's.
func (m *migrateFlags) openControl(ctx context.Context, name string, region []string) (*client.Client, error) {
	if name == "openimds" {
		return m.openIn(ctx, client.ServiceLightsail, m.location().url, region, 0)
	}
	return m.openAmazon(ctx, client.ServiceLightsail, "AWS_ENDPOINT_URL_LIGHTSAIL", region)
}

// ofRegion makes a provider of the instances in one region.
func (m *migrateFlags) ofRegion(ctx context.Context, name string, region []string) (migrate.Provider, error) {
	if name != "ec2" {
		api, err := m.openControl(ctx, name, region)
		switch {
		case err != nil:
			return nil, err
		case name == "openimds":
			return migrate.NewOpenIMDS(api), nil
		}
		return migrate.NewLightsail(api), nil
	}
	api, err := m.openAmazon(ctx, client.ServiceEC2, "AWS_ENDPOINT_URL_EC2", region)
	if err != nil {
		return nil, err
	}
	metrics, err := m.openAmazon(ctx, client.ServiceCloudWatch, "AWS_ENDPOINT_URL_CLOUDWATCH", region)
	if err != nil {
		return nil, err
	}
	return migrate.NewEC2(api, metrics), nil
}

// regionsOf are all that a provider has.
func (m *migrateFlags) regionsOf(ctx context.Context, name string, first []string) ([]string, error) {
	if name == "ec2" {
		api, err := m.openAmazon(ctx, client.ServiceEC2, "AWS_ENDPOINT_URL_EC2", first)
		if err != nil {
			return nil, err
		}
		return migrate.EC2Regions(ctx, api)
	}
	api, err := m.openControl(ctx, name, first)
	if err != nil {
		return nil, err
	}
	return controlRegions(ctx, api)
}

// openIn opens an API in a region, if one is given.
func (m *migrateFlags) openIn(ctx context.Context, service, endpoint string, regions []string, attempts int) (*client.Client, error) {
	c := m.clientConfig
	if len(regions) > 0 {
		c.region = regions[0]
	}
	return c.openTo(ctx, service, endpoint, attempts)
}

// controlRegions are all that Lightsail, or a server of openimds, has.
func controlRegions(ctx context.Context, api *client.Client) ([]string, error) {
	answer, err := client.Call(ctx, api, wire.GetRegions, wire.GetRegionsRequest{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, region := range answer.Regions {
		names = append(names, region.Name)
	}
	return names, nil
}

func newMigratePolicy(m *migrateFlags) *cobra.Command {
	var changes bool
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Print the IAM policy that migrating at AWS needs",
		Long: `Print the least that an IAM policy has to allow at AWS: to look, which is enough for status, plan and
every dry run, and with --require to require tokens and take that back. It is for Lightsail; with --provider ec2 for EC2.`,
		Example: `  openimds migrate policy
  openimds migrate policy --require > policy.json
  openimds migrate policy --provider ec2`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write([]byte(migrate.Policy(m.provider, changes)))
			return err
		},
	}
	cmd.Flags().BoolVar(&changes, "require", false, "allow to require tokens too, and to take that back")
	return cmd
}

// criteriaFlags say what makes an instance ready.
type criteriaFlags struct {
	window, gaps       span
	calls              int64
	reboots, monthEnds int
}

func (f *criteriaFlags) add(cmd *cobra.Command) {
	f.window = span(migrate.DefaultWindow)
	flags := cmd.Flags()
	flags.Var(&f.window, "window", "how long nobody may have called without a token, as a `duration` (14d, 36h)")
	flags.Int64Var(&f.calls, "calls", 0, "how many calls without a token are put up with, of those that were not refused")
	flags.Var(&f.gaps, "gaps", "how much of the window may be unknown, as a `duration`: instances that are stopped at night")
	flags.IntVar(&f.reboots, "reboots", 0, "how many reboots the window has to have")
	flags.IntVar(&f.monthEnds, "month-ends", 0, "how many month ends the window has to have")
}

func (f *criteriaFlags) criteria() (migrate.Criteria, error) {
	c := migrate.Criteria{Window: time.Duration(f.window), Calls: f.calls, Gaps: time.Duration(f.gaps), Reboots: f.reboots, MonthEnds: f.monthEnds}
	if c.Window == 0 {
		return c, usagef("--window must be longer than nothing (14d, 36h)")
	}
	if c.Window < 0 || c.Gaps < 0 || c.Calls < 0 || c.Reboots < 0 || c.MonthEnds < 0 {
		return c, usagef("--window, --calls, --gaps, --reboots and --month-ends cannot be negative")
	}
	return c, nil
}
