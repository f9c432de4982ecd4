package main

import (
	"strings"
	"unicode/utf8"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/control"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newInstanceSet(c *clientConfig) *cobra.Command {
	var f setFlags
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Change what the guest sees and Lightsail has no operation for",
		Long: `Change what the guest sees and Lightsail has no operation for: the flags given are changed, all
else keeps its value, and the guest's next request sees it.

--set lays a value over any path of the metadata, as the guest would ask for it, with /latest/ or without. What
the table has as a value becomes a directory only where --absent takes the value away.`,
		Example: `  openimds instance set demo --set meta-data/spot/termination-time=2026-01-02T15:04:05Z
  openimds instance set demo --absent meta-data/tags
  openimds instance set demo --unset meta-data/spot/termination-time`,
		Args: names(1, 1, "one name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().NFlag() == 0 {
				return usagef("nothing to change; see '%s --help'", cmd.CommandPath())
			}
			request, err := f.request(cmd, args[0])
			if err != nil {
				return err
			}
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			return change(cmd, c, api, wire.SetInstance, *request)
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().BoolVar(&f.noUserData, "no-user-data", false, "take the user data away")
	cmd.Flags().BoolVar(&f.noRecording, "no-recording", false, "answer from the table of categories again, not from a recording")
	cmd.Flags().StringArrayVar(&f.unset, "unset", nil, "take away what was laid over a `path`; repeatable")
	return cmd
}

// setFlags are the flags of what the guest sees. The last three only change an instance that is there.
type setFlags struct {
	userDataFile         string
	tagsInMetadata       bool
	extended             bool
	role, image, kind    string
	owner, zone          string
	hostname, publicName string
	set, setFile         []string
	absent               []string
	noUserData           bool
	unset                []string
	noRecording          bool
	inputTaken           bool // by the command that is run: no flag can read it
}

func (s *setFlags) add(f *pflag.FlagSet) {
	f.StringVar(&s.userDataFile, "user-data", "", "`file` with the user data; - for standard input")
	f.BoolVar(&s.tagsInMetadata, "tags-in-metadata", false, "whether the guest sees the instance's tags")
	f.StringVar(&s.role, "role", "", "`name` of the role whose credentials the guest gets; empty: none")
	f.BoolVar(&s.extended, "extended-credentials", false, "whether the guest finds the role's credentials with their AccountId, too, in iam/security-credentials-extended")
	f.StringVar(&s.image, "image-id", "", "ami-id")
	f.StringVar(&s.kind, "instance-type", "", "instance-type, as EC2 names them")
	f.StringVar(&s.owner, "owner-id", "", "`account` that the identity document names")
	f.StringVar(&s.zone, "zone", "", "availability zone")
	f.StringVar(&s.hostname, "hostname", "", "local host name")
	f.StringVar(&s.publicName, "public-hostname", "", "public host name")
	f.StringArrayVar(&s.set, "set", nil, "lay a value over a path: `path=value`; repeatable")
	f.StringArrayVar(&s.setFile, "set-file", nil, "lay a file's content over a path: `path=file`; - for standard input; repeatable")
	f.StringArrayVar(&s.absent, "absent", nil, "make a `path` and all below it not exist; repeatable")
}

// request makes the request of what the command line names.
func (s *setFlags) request(cmd *cobra.Command, name string) (*wire.SetInstanceRequest, error) {
	f := cmd.Flags()
	r := &wire.SetInstanceRequest{InstanceName: name, Overlay: map[string]*string{}, OverlayRemove: s.unset}
	for flag, to := range map[string]**string{
		"role": &r.RoleName, "image-id": &r.ImageID, "instance-type": &r.InstanceType, "owner-id": &r.OwnerID,
		"zone": &r.AvailabilityZone, "hostname": &r.Hostname, "public-hostname": &r.PublicHostname,
	} {
		if f.Changed(flag) {
			value := f.Lookup(flag).Value.String()
			*to = &value
		}
	}
	if f.Changed("extended-credentials") {
		r.ExtendedCredentials = &s.extended
	}
	if f.Changed("tags-in-metadata") {
		r.TagsInMetadata = &s.tagsInMetadata
	}
	switch {
	case s.noUserData && s.userDataFile != "":
		return nil, usagef("--user-data and --no-user-data exclude each other")
	case s.noUserData:
		r.UserData = &awsjson.Blob{}
	case s.userDataFile != "":
		content, err := readInput(cmd, s.userDataFile, openimds.MaxUserData)
		if err != nil {
			return nil, usagef("--user-data: %w", err)
		}
		r.UserData = (*awsjson.Blob)(&content)
	}
	if s.noRecording {
		r.Recording = &wire.Recording{} // without items it takes away the one that is there
	}
	if err := s.overlay(cmd, r.Overlay); err != nil {
		return nil, err
	}
	return r, nil
}

func (s *setFlags) overlay(cmd *cobra.Command, to map[string]*string) error {
	read := s.inputTaken || s.userDataFile == "-"
	lay := func(flag, path string, value *string) error {
		if _, twice := to[path]; twice || path == "" {
			return usagef("%s: the path %q is empty or named twice", flag, path)
		}
		to[path] = value
		return nil
	}
	for _, word := range s.set {
		path, value, ok := strings.Cut(word, "=")
		if !ok {
			return usagef("--set %q is not of the form path=value", word)
		}
		if err := lay("--set", path, &value); err != nil {
			return err
		}
	}
	for _, word := range s.setFile {
		path, file, ok := strings.Cut(word, "=")
		if !ok {
			return usagef("--set-file %q is not of the form path=file", word)
		}
		if file == "-" && read {
			return usagef("--set-file %q: standard input is taken already", word)
		}
		read = read || file == "-"
		content, err := readInput(cmd, file, control.MaxOverlay)
		if err != nil {
			return usagef("--set-file: %w", err)
		}
		if !utf8.Valid(content) { // JSON would change it
			return usagef("--set-file: %s is not text (UTF-8), which is all that can be laid over a path; user data and recordings can be binary", file)
		}
		value := string(content)
		if err := lay("--set-file", path, &value); err != nil {
			return err
		}
	}
	for _, path := range s.absent {
		if err := lay("--absent", path, nil); err != nil {
			return err
		}
	}
	return nil
}
