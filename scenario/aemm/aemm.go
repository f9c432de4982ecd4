// Package aemm reads the JSON configuration of amazon-ec2-metadata-mock and says what an instance
// must be changed to, so as to answer what the mock would.
package aemm

import (
	"cmp"
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/jsonfile"
	"github.com/openimds/openimds/metadata"
)

// MaxFile is the most bytes of a configuration; the mock's own has 12 KB.
const MaxFile = 1 << 20

// Plan is what a configuration makes of an instance.
type Plan struct {
	// Overlay are the values that the file gives, by their paths; nil: what would contradict them.
	Overlay map[string]*string
	// Uncover are paths that an earlier import may have laid something over, and that must show what is
	// announced now.
	Uncover []string
	// UserData is nil if the file gives none.
	UserData *[]byte
	// RoleName is the role whose credentials are not in the file; nil: keep what is there.
	RoleName *string
	// Tokens is nil if the file does not say whether they are required.
	Tokens *openimds.TokensMode

	Spot        *openimds.SpotInterruption
	RebalanceAt *time.Time
	Maintenance *openimds.MaintenanceEvent

	// Notes say, a line each, what is not carried over or is not as the mock has it, and why.
	Notes []string
}

// reader is one reading of a file.
type reader struct {
	Plan
	now    time.Time
	values map[string]*jsonfile.Value // by section and key: "metadata.mac"
	paths  map[string]*jsonfile.Value
	from   map[string]*jsonfile.Value // by path of the overlay: where it was read
	// userDataIsOld says that the user data stand where earlier versions of the mock had them, as a text.
	userDataIsOld bool
	// later says that the mock announces nothing yet, and why; nil: it does.
	later *jsonfile.Value
}

// settings are the keys at the top of the file, and how they are read. What is nil the sections need.
var settings = map[string]func(r *reader, v *jsonfile.Value) error{
	"metadata": nil, "dynamic": nil, "userdata": nil, "spot": nil, "events": nil,
	"mock-delay-sec": nil, "mock-trigger-time": nil,
	"imdsv2":                       (*reader).tokens,
	"server":                       noted("say where to listen with 'openimds serve --imds-listen'"),
	"config-file":                  noted("it is of the mock's own run"),
	"save-config-to-file":          noted("it is of the mock's own run"),
	"watch-config-file":            noted("import the file again after a change"),
	"mock-ip-count":                noted("every caller of an instance sees what is announced to it"),
	"rebalance-delay-sec":          noted("recommend with 'openimds event rebalance', or at a time with 'openimds event play'"),
	"rebalance-trigger-time":       noted("recommend with 'openimds event rebalance', or at a time with 'openimds event play'"),
	"asg-termination-delay-sec":    noted("set the state with 'openimds event lifecycle', or at a time with 'openimds event play'"),
	"asg-termination-trigger-time": noted("set the state with 'openimds event lifecycle', or at a time with 'openimds event play'"),
}

// noted makes the reading of a setting that is not carried over, unless it is the one that says nothing.
func noted(why string) func(r *reader, v *jsonfile.Value) error {
	return func(r *reader, v *jsonfile.Value) error {
		if text, ok := v.Scalar(); !ok && !v.IsNull() || text != "" && text != "0" && text != "false" {
			r.note(v, "not carried over: %s", why)
		}
		return nil
	}
}

// Decode reads a configuration. The file's values are carried over, the mock's defaults are not: what
// the file leaves out stays as the instance has it.
func Decode(text []byte, now time.Time) (*Plan, error) {
	top, err := jsonfile.Parse(text)
	if err != nil {
		return nil, err
	}
	r := &reader{
		now: now, values: map[string]*jsonfile.Value{}, paths: map[string]*jsonfile.Value{}, from: map[string]*jsonfile.Value{},
		Plan: Plan{Overlay: map[string]*string{}},
	}
	keys, err := r.known(top, slices.Sorted(maps.Keys(settings))...)
	if err != nil {
		return nil, err
	}
	for _, section := range []string{"metadata", "dynamic", "userdata"} {
		if err := r.section(section, keys[section]); err != nil {
			return nil, err
		}
	}
	members, _ := top.Members()
	for _, v := range members {
		if read := settings[v.Name]; read != nil {
			if err := read(r, v); err != nil {
				return nil, err
			}
		}
	}
	for _, step := range []func() error{r.lay, r.agree, func() error { return r.announce(keys) }} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if err := metadata.ValidateOverlay(r.Overlay); err != nil {
		return nil, err
	}
	return &r.Plan, nil
}

// known are the members of an object that have these names. The others, of a later version of the mock or
// misspelt, are noted: the mock passes over them, too.
func (r *reader) known(v *jsonfile.Value, names ...string) (map[string]*jsonfile.Value, error) {
	members, err := v.Members()
	if err != nil {
		return nil, err
	}
	known := make(map[string]*jsonfile.Value, len(members))
	for _, m := range members {
		if !slices.Contains(names, m.Name) {
			r.note(m, "not carried over: this key is not known here; the keys are %s", strings.Join(names, ", "))
			continue
		}
		known[m.Name] = m
	}
	return known, nil
}

func (r *reader) note(v *jsonfile.Value, format string, args ...any) {
	r.Notes = append(r.Notes, v.Errorf(format, args...).Error())
}

// section reads the paths and values of one part of the tree.
func (r *reader) section(name string, v *jsonfile.Value) error {
	if v == nil || v.IsNull() {
		return nil
	}
	parts, err := r.known(v, "paths", "values")
	if err != nil {
		return err
	}
	for part, to := range map[string]map[string]*jsonfile.Value{"paths": r.paths, "values": r.values} {
		if parts[part] == nil || parts[part].IsNull() {
			continue
		}
		members, err := parts[part].Members()
		if err != nil {
			return err
		}
		for _, m := range members {
			key := name + "." + m.Name
			if key == "metadata.userdata" { // where the mock saves it, and earlier ones had it
				key, r.userDataIsOld = "userdata.userdata", true
			}
			to[key] = m
		}
	}
	return nil
}

func (r *reader) tokens(v *jsonfile.Value) error {
	mode := openimds.TokensOptional
	switch text, _ := v.Scalar(); text {
	case "true":
		mode = openimds.TokensRequired
	case "false":
	default:
		return v.Errorf("expected true or false")
	}
	r.Tokens = &mode
	return nil
}

// lay finds the path of each value, and lays it there.
func (r *reader) lay() error {
	for _, key := range slices.Sorted(maps.Keys(r.paths)) {
		if err := r.checkPath(key); err != nil {
			return err
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(r.values), func(a, b string) int {
		return cmp.Or(cmp.Compare(r.values[a].Line(), r.values[b].Line()), cmp.Compare(a, b))
	}) {
		v := r.values[key]
		if key == "metadata.event-id" {
			continue // a part of what is announced
		}
		if _, known := r.standardPath(key); !known && r.paths[key] == nil {
			r.note(v, "not carried over: this key is not known, and no path of that name is given")
			continue
		}
		path, err := r.pathOf(key, v)
		if err != nil {
			return err
		}
		switch {
		case v.IsNull():
			r.note(v, "not carried over: it has no value")
		case key == "userdata.userdata":
			err = r.userData(v, path)
		default:
			err = r.put(v, path, document(v))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkPath reads a path, and notes one that nothing is answered at.
func (r *reader) checkPath(key string) error {
	v := r.paths[key]
	path, err := r.pathOf(key, v)
	if err != nil {
		return err
	}
	standard, known := r.standardPath(key)
	switch {
	case announced[key] && path != standard:
		r.note(v, "not carried over: what is announced stands at AWS's path")
	case announced[key] || r.values[key] != nil:
	case !known:
		r.note(v, "not carried over: there is no value of this name")
	case path != standard:
		r.note(v, "not carried over: the file does not say which value stands there")
	}
	return nil
}

// placeholder is the value that stands for a placeholder.
func (r *reader) placeholder(name string) string {
	if v := r.values["metadata."+name]; v != nil {
		if text, ok := v.Scalar(); ok {
			return text
		}
	}
	return placeholders[name]
}

func (r *reader) standardPath(key string) (path string, known bool) {
	path, known = defaultPaths[key]
	for name := range placeholders {
		path = strings.ReplaceAll(path, "{"+name+"}", r.placeholder(name))
	}
	return path, known
}

// pathOf is where a value stands, below the version.
func (r *reader) pathOf(key string, v *jsonfile.Value) (string, error) {
	path, known := r.standardPath(key)
	if given := r.paths[key]; given != nil {
		text, err := given.Text()
		if err != nil {
			return "", err
		}
		// As in the mock: a path that names a default follows the value that the file gives for it.
		for name, old := range placeholders {
			text = strings.ReplaceAll(text, old, r.placeholder(name))
		}
		v, known = given, true
		below, ok := strings.CutPrefix(text, "/latest/")
		if !ok {
			return "", v.Errorf("the path %.200q does not begin with /latest/", text)
		}
		path = strings.TrimSuffix(below, "/")
	}
	if !known {
		return "", v.Errorf("this key is not known, and no path of that name is given")
	}
	if err := metadata.ValidateOverlay(map[string]*string{path: nil}); err != nil {
		return "", v.Errorf("%w", err)
	}
	return path, nil
}

func (r *reader) put(v *jsonfile.Value, path, value string) error {
	if before := r.from[path]; before != nil {
		return v.Errorf("the path %s has a value on line %d already", path, before.Line())
	}
	r.Overlay[path], r.from[path] = &value, v
	return nil
}

func (r *reader) userData(v *jsonfile.Value, path string) error {
	text, err := v.Text()
	if err != nil {
		return err
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil && r.userDataIsOld {
		r.note(v, "it is no base64, and is taken as it stands")
		data, err = []byte(text), nil
	}
	switch {
	case err != nil:
		return v.Errorf("this is not base64: %w", err)
	case len(data) > openimds.MaxUserData:
		return v.Errorf("user data has at most %d bytes, not %d", openimds.MaxUserData, len(data))
	case path == "user-data":
		r.UserData = &data
	case !utf8.Valid(data):
		r.note(v, "not carried over: what is not text can stand at /latest/user-data only")
	default:
		return r.put(v, path, string(data))
	}
	return nil
}

// agree makes the values agree with each other, and with what the instance answers beside them.
func (r *reader) agree() error {
	const roles = "meta-data/iam/security-credentials"
	if v := r.from[roles]; v != nil && !r.hasBelow(roles) {
		role := *r.Overlay[roles] // its credentials are not in the file: they come from their source
		delete(r.Overlay, roles)
		r.RoleName = &role
	}
	if r.hasBelow(roles) {
		r.noteEnded(roles)
		r.Overlay[roles] = nil // clients take the first role that is listed: it must be the mock's
	}
	for _, path := range slices.Sorted(maps.Keys(r.from)) {
		v := r.from[path]
		if r.Overlay[path] == nil || !r.hasBelow(path) {
			continue
		}
		for name := range strings.SplitSeq(strings.TrimSuffix(*r.Overlay[path], "\n"), "\n") {
			if below := path + "/" + strings.TrimSuffix(name, "/"); r.from[below] == nil && !r.hasBelow(below) {
				r.note(v, "not carried over: other values lie below its path, which lists just these")
				break
			}
		}
		r.Overlay[path] = nil // the listing says it, and nothing else
	}
	const macs, mac = "meta-data/network/interfaces/macs", "meta-data/mac"
	switch {
	case r.hasBelow(macs):
		r.Overlay[macs] = nil // the mock has the one interface
		if r.from[mac] == nil {
			value := r.placeholder("mac")
			r.Overlay[mac] = &value
		}
	case r.from[mac] != nil:
		r.note(r.from[mac], "the directory of the interface keeps the address that the instance has: give the mac-* values to have one of this address")
	}
	const identity = "dynamic/instance-identity/"
	if v := r.from[identity+"document"]; v != nil {
		for _, name := range []string{"pkcs7", "rsa2048", "signature"} {
			if r.from[identity+name] == nil {
				r.Overlay[identity+name] = nil
				r.note(v, "there is no %s%s: the instance would sign its own document, not this one", identity, name)
			}
		}
	}
	return nil
}

// noteEnded notes credentials that no client takes any more.
func (r *reader) noteEnded(roles string) {
	for _, path := range slices.Sorted(maps.Keys(r.from)) {
		if v := r.from[path]; strings.HasPrefix(path, roles+"/") && v.IsObject() {
			members, _ := v.Members()
			for _, m := range members {
				text, _ := m.Scalar()
				end, err := time.Parse(time.RFC3339, text)
				if err == nil && spelled(m.Name) == "Expiration" && end.Before(r.now) {
					r.note(m, "the credentials are over, and clients refuse such: leave them out of the file to get generated ones")
				}
			}
		}
	}
}

func (r *reader) hasBelow(dir string) bool {
	for path := range r.from {
		if strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return false
}
