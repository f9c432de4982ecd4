package migrate

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Ref names one instance for its life: another one that gets its name later has another ID.
type Ref struct {
	Region string `json:"region"`
	Name   string `json:"name"`
	// ID is the provider's: an ARN at Lightsail and here.
	ID string `json:"id"`
}

// String is the name, with the region.
func (r Ref) String() string { return r.Name + " (" + r.Region + ")" }

// Instance is what a provider tells of an instance.
type Instance struct {
	Ref
	State     string            `json:"state"`
	Blueprint string            `json:"blueprint,omitempty"`
	CreatedAt time.Time         `json:"createdAt"`
	Tags      map[string]string `json:"tags,omitempty"`
	Options   Options           `json:"options"`
	// Pending says that the serving side does not obey the options yet.
	Pending bool `json:"pending,omitempty"`
}

// Options are all that the API can change of how a guest reads its metadata.
type Options struct {
	Tokens   string `json:"tokens"`
	Endpoint string `json:"endpoint"`
	HopLimit int    `json:"hopLimit"`
	IPv6     string `json:"ipv6,omitempty"`
}

// The values of [Options].
const (
	optional = "optional"
	required = "required"
	disabled = "disabled"
	enabled  = "enabled"
)

// With are the same options with another tokens option.
func (o Options) With(tokens string) Options {
	o.Tokens = tokens
	return o
}

// changed are the options with those of others that are not empty.
func (o Options) changed(to Options) Options {
	return Options{cmp.Or(to.Tokens, o.Tokens), cmp.Or(to.Endpoint, o.Endpoint), cmp.Or(to.HopLimit, o.HopLimit), cmp.Or(to.IPv6, o.IPv6)}
}

// String is the options in one line.
func (o Options) String() string {
	text := fmt.Sprintf("tokens %s, endpoint %s, hop limit %d", o.Tokens, o.Endpoint, o.HopLimit)
	if o.IPv6 != "" {
		text += ", IPv6 " + o.IPv6
	}
	return text
}

// tagged says whether the instance has a tag, written as key or key=value.
func (i Instance) tagged(tag string) bool {
	key, value, whole := strings.Cut(tag, "=")
	has, ok := i.Tags[key]
	return ok && (!whole || has == value)
}
