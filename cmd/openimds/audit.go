package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/server"
	"github.com/spf13/cobra"
)

// auditFlags say which lines of the audit log are shown.
type auditFlags struct {
	dataDir, file       string
	since               span
	who, what, resource string
	failed              bool
}

func newAudit() *cobra.Command {
	var c clientConfig // for the output
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show who changed what, and who was refused",
		Long: `Show who changed what, and who was refused, from the audit log of the server's data directory, the earliest first. It
takes this machine's user of the server, or root. Times are UTC; CHANGED has the numbers and words that changed, -o json all
of what was before and after each change.

  openimds audit --since 1d
  openimds audit --resource Instance/demo -o json
  openimds audit --file /var/lib/openimds/audit.log.1 --failed`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			if f.since < 0 {
				return usagef("--since cannot be negative")
			}
			return f.show(cmd, &c)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dataDir, "data-dir", "", dataDirUsage)
	flags.StringVar(&f.file, "file", "", "a `file` that was rotated away, in the log's place")
	flags.Var(&f.since, "since", "only the last `duration` (1h30m, 7d); 0: all")
	flags.StringVar(&f.who, "who", "", "only by whom has this in the `name`: a key's id or profile, or openimds")
	flags.StringVar(&f.what, "what", "", "only this `operation`, such as UpdateInstanceMetadataOptions")
	flags.StringVar(&f.resource, "resource", "", "only of this `resource`: Instance/demo, or demo")
	flags.BoolVar(&f.failed, "failed", false, "only what was refused or was not made")
	flags.StringVarP(&c.output, "output", "o", "table", "form of the output: table or json")
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

// show reads the log and shows what is asked for.
func (f *auditFlags) show(cmd *cobra.Command, c *clientConfig) error {
	dir, err := dataDirOr(f.dataDir)
	if err != nil && f.file == "" {
		return err
	}
	log := server.AuditLog(dir)
	if f.file != "" {
		log = server.AuditFile(f.file)
	}
	asked := openimds.AuditQuery{Resource: f.resource, Who: f.who, What: f.what, Failed: f.failed}
	if f.since > 0 {
		asked.Since = time.Now().Add(-time.Duration(f.since))
	}
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
	if err := f.unknownType(ofType); err != nil && len(shown) == 0 {
		return err
	}
	err = c.show(cmd.OutOrStdout(), shown, func(row func(...any)) {
		row("WHEN", "WHO", "WHAT", "RESOURCE", "FROM", "CHANGED", "FAILURE")
		for _, e := range shown {
			row(e.When.UTC().Format(time.DateTime), dash(e.Who), e.What, dash(e.Resource), dash(e.Source), changed(e), e.Failure)
		}
	})
	if err == nil && len(shown) == 0 {
		err = say(cmd.ErrOrStderr(), "openimds: the audit log has no such entry\n")
	}
	if err == nil && damaged > 0 {
		err = fmt.Errorf("%s of the audit log cannot be read", counted(damaged, "line"))
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
