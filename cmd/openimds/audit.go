package main

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/server"
	"github.com/spf13/cobra"
)

// auditFlags say which lines of the audit log are shown.
type auditFlags struct {
	file                string
	since               span
	who, what, resource string
	failed              bool
}

func newAudit() *cobra.Command {
	var c clientConfig
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show who changed what, and who was refused",
		Long: `Show who changed what, and who was refused, the earliest first: from the audit log of the server's data directory, which takes
this machine's user of the server, or root, and no server that runs. Servers that share a store have a log together: any of them
is asked for it, as with --endpoint. Times are UTC; CHANGED has the numbers and words that changed, -o json all of what was before
and after each change.`,
		Example: `  openimds audit --since 1d
  openimds audit --resource Instance/demo -o json
  openimds audit --file /var/lib/openimds/audit.log.1 --failed
  openimds audit --endpoint https://10.0.0.1:1339 --resource web-1`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			if f.since < 0 {
				return usagef("--since cannot be negative")
			}
			if f.file != "" && c.endpoint != "" {
				return usagef("give one of --file and --endpoint: a server is asked for its log as it stands")
			}
			return f.show(cmd, &c)
		},
	}
	c.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.file, "file", "", "a `file` that was rotated away, in the log's place")
	flags.Var(&f.since, "since", "only the last `duration` (1h30m, 7d); 0: all")
	flags.StringVar(&f.who, "who", "", "only by whom has this in the `name`: a key's id or profile, or openimds")
	flags.StringVar(&f.what, "what", "", "only this `operation`, such as UpdateInstanceMetadataOptions")
	flags.StringVar(&f.resource, "resource", "", "only of this `resource`: Instance/demo, or demo")
	flags.BoolVar(&f.failed, "failed", false, "only what was refused or was not made")
	return cmd
}

// unknownType refuses a type of resources that no line is about, and none can be: an empty answer would read as if
// nothing had been done to it. other says whether a line is about another resource of that type.
func (f *auditFlags) unknownType(other bool) error {
	at := strings.LastIndexByte(f.resource, '/')
	if at < 0 || other {
		return nil
	}
	types := []openimds.ResourceType{openimds.TypeInstance, openimds.TypeKeyPair, openimds.TypeStaticIP, openimds.TypeAlarm}
	t := f.resource[strings.LastIndexByte(f.resource[:at], '/')+1 : at] // behind a further region's name
	if slices.Contains(types, openimds.ResourceType(t)) {
		return nil
	}
	return usagef("--resource %q: there are no resources of the type %q; give one of %v with a slash and the name, or the name alone", f.resource, t, types)
}

// show shows what is asked for, from where it is.
func (f *auditFlags) show(cmd *cobra.Command, c *clientConfig) error {
	asked := openimds.AuditQuery{Resource: f.resource, Who: f.who, What: f.what, Failed: f.failed}
	if f.since > 0 {
		asked.Since = time.Now().Add(-time.Duration(f.since))
	}
	if f.file != "" {
		return f.showFile(cmd, c, server.AuditFile(f.file), asked)
	}
	dir, err := dataDirOr(c.dataDir)
	if err != nil {
		return err
	}
	if c.endpoint != "" || server.SharesAudit(dir) {
		return f.showServers(cmd, c, asked)
	}
	return f.showFile(cmd, c, server.AuditLog(dir), asked)
}

// showServers asks a server.
func (f *auditFlags) showServers(cmd *cobra.Command, c *clientConfig, asked openimds.AuditQuery) error {
	api, err := c.open(cmd.Context())
	if err != nil {
		return err
	}
	request := wire.GetAuditEntriesRequest{Resource: asked.Resource, Who: asked.Who, What: asked.What, Failed: asked.Failed, PageSize: new(control.MaxAuditPage)}
	if !asked.Since.IsZero() {
		request.Since = &awsjson.Epoch{Time: asked.Since}
	}
	shown, incomplete := []openimds.AuditEntry{}, []string{}
	for page, err := range client.Pages(cmd.Context(), api, wire.GetAuditEntries, request) {
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			shown = append(shown, e.AuditEntry)
		}
		for _, why := range page.Incomplete {
			if !slices.Contains(incomplete, why) {
				incomplete = append(incomplete, why)
			}
		}
	}
	slices.Reverse(shown)
	if err := f.print(cmd, c, shown, false); err != nil {
		return err
	}
	for _, why := range incomplete {
		if err := say(cmd.ErrOrStderr(), "openimds: %s\n", why); err != nil {
			return err
		}
	}
	return nil
}

// showFile reads a log.
func (f *auditFlags) showFile(cmd *cobra.Command, c *clientConfig, log iter.Seq2[openimds.AuditEntry, error], asked openimds.AuditQuery) error {
	shown, damaged, ofType := []openimds.AuditEntry{}, 0, false
	before := f.resource[:strings.LastIndexByte(f.resource, '/')+1]
	for e, err := range log {
		ofType = ofType || strings.HasPrefix(e.Resource, before)
		switch {
		case errors.Is(err, server.ErrDamagedLine):
			damaged++
		case err != nil:
			return fmt.Errorf("the audit log cannot be read: %w", err)
		case asked.Wants(&e):
			shown = append(shown, e)
		}
	}
	err := f.print(cmd, c, shown, ofType)
	if err == nil && damaged > 0 {
		err = fmt.Errorf("%s of the audit log cannot be read", counted(damaged, "line"))
	}
	return err
}

// print prints entries; ofType says whether there are others of the type of resources that is asked for. Those of several
// servers name theirs.
func (f *auditFlags) print(cmd *cobra.Command, c *clientConfig, shown []openimds.AuditEntry, ofType bool) error {
	if err := f.unknownType(ofType); err != nil && len(shown) == 0 {
		return err
	}
	shared := slices.ContainsFunc(shown, func(e openimds.AuditEntry) bool { return e.Server != "" })
	err := c.show(cmd.OutOrStdout(), shown, func(row func(...any)) {
		head := []any{"WHEN", "WHO", "WHAT", "RESOURCE", "FROM", "CHANGED", "FAILURE"}
		if shared {
			head = slices.Insert(head, 5, any("SERVER"))
		}
		row(head...)
		for _, e := range shown {
			line := []any{e.When.UTC().Format(time.DateTime), dash(e.Who), e.What, dash(e.Resource), dash(e.Source), changed(e), e.Failure}
			if shared {
				line = slices.Insert(line, 5, any(dash(e.Server)))
			}
			row(line...)
		}
	})
	if err == nil && len(shown) == 0 {
		err = say(cmd.ErrOrStderr(), "openimds: the audit log has no such entry\n")
	}
	return err
}

// changed are the members that [openimds.AuditEntry.Changed] tells, as far as a line has room.
func changed(e openimds.AuditEntry) string {
	const most = 6
	words := e.Changed()
	if len(words) > most {
		words = append(words[:most], "…")
	}
	return strings.Join(words, ", ")
}
