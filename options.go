package openimds

import "cmp"

// TokensMode says whether a guest must present a session token.
type TokensMode string

// EndpointMode says whether the metadata endpoint (or its IPv6 address) answers.
type EndpointMode string

// OptionsState says whether the options shown are already what the serving side obeys.
type OptionsState string

// The values that the API knows, as they stand on the wire.
const (
	TokensOptional TokensMode = "optional"
	TokensRequired TokensMode = "required"

	EndpointEnabled  EndpointMode = "enabled"
	EndpointDisabled EndpointMode = "disabled"

	OptionsPending OptionsState = "pending"
	OptionsApplied OptionsState = "applied"
)

// Limits of the hop limit of a token answer (EC2 API reference, ModifyInstanceMetadataOptions).
const (
	MinHopLimit = 1
	MaxHopLimit = 64
)

// MetadataOptions are the switches of one instance's metadata service.
//
// A new field must be enforced somewhere before the API may accept it; a test lists the fields and
// what enforces each.
type MetadataOptions struct {
	Tokens   TokensMode   `json:"tokens"`
	Endpoint EndpointMode `json:"endpoint"`
	// HopLimit is the IP TTL (IPv6 hop limit) of the answer to a token PUT, 1 to 64.
	HopLimit int `json:"hopLimit"`
	// IPv6 says whether fd00:ec2::254 answers.
	IPv6 EndpointMode `json:"ipv6"`
	// Tags says whether the guest sees the instance's tags, under tags/instance.
	Tags  EndpointMode `json:"tags"`
	State OptionsState `json:"state"`
}

// DefaultOptions are the options of a new instance: the Lightsail guide's "optional" and hop limit
// 1, and EC2's defaults for the rest.
func DefaultOptions() MetadataOptions {
	return MetadataOptions{
		Tokens:   TokensOptional,
		Endpoint: EndpointEnabled,
		HopLimit: 1,
		IPv6:     EndpointDisabled,
		Tags:     EndpointDisabled,
		State:    OptionsApplied,
	}
}

// Validate refuses options that no serving side could carry out. It guards records read from a
// store too: an unknown value must never decay to a permissive default.
func (o MetadataOptions) Validate() error {
	switch {
	case o.Tokens != TokensOptional && o.Tokens != TokensRequired:
		return Errorf(InvalidInput, UnknownValue, "%s must be optional or required, not %q", FieldTokens, o.Tokens)
	case o.Endpoint != EndpointEnabled && o.Endpoint != EndpointDisabled:
		return Errorf(InvalidInput, UnknownValue, "%s must be enabled or disabled, not %q", FieldEndpoint, o.Endpoint)
	case o.HopLimit < MinHopLimit || o.HopLimit > MaxHopLimit:
		return Errorf(InvalidInput, OutOfRange, "%s must be %d to %d, not %d", FieldHopLimit, MinHopLimit, MaxHopLimit, o.HopLimit)
	case o.IPv6 != EndpointEnabled && o.IPv6 != EndpointDisabled:
		return Errorf(InvalidInput, UnknownValue, "%s must be enabled or disabled, not %q", FieldIPv6Endpoint, o.IPv6)
	case o.Tags != EndpointEnabled && o.Tags != EndpointDisabled:
		return Errorf(InvalidInput, UnknownValue, "%s must be enabled or disabled, not %q", FieldMetadataTags, o.Tags)
	case o.State != OptionsPending && o.State != OptionsApplied:
		return Errorf(InvalidInput, UnknownValue, "metadata options have the unknown state %q", o.State)
	}
	return nil
}

// OptionsUpdate is a partial change of [MetadataOptions]; nil keeps the value.
type OptionsUpdate struct {
	Tokens   *TokensMode   `json:"tokens,omitempty"`
	Endpoint *EndpointMode `json:"endpoint,omitempty"`
	HopLimit *int          `json:"hopLimit,omitempty"`
	IPv6     *EndpointMode `json:"ipv6,omitempty"`
	Tags     *EndpointMode `json:"tags,omitempty"`
}

// Apply returns o with the members of u that are set.
func (u OptionsUpdate) Apply(o MetadataOptions) MetadataOptions {
	if u.Tokens != nil {
		o.Tokens = *u.Tokens
	}
	if u.Endpoint != nil {
		o.Endpoint = *u.Endpoint
	}
	if u.HopLimit != nil {
		o.HopLimit = *u.HopLimit
	}
	if u.IPv6 != nil {
		o.IPv6 = *u.IPv6
	}
	if u.Tags != nil {
		o.Tags = *u.Tags
	}
	return o
}

// Or returns u with what it leaves out taken from other.
func (u OptionsUpdate) Or(other OptionsUpdate) OptionsUpdate {
	return OptionsUpdate{
		Tokens: cmp.Or(u.Tokens, other.Tokens), Endpoint: cmp.Or(u.Endpoint, other.Endpoint),
		HopLimit: cmp.Or(u.HopLimit, other.HopLimit), IPv6: cmp.Or(u.IPv6, other.IPv6), Tags: cmp.Or(u.Tags, other.Tags),
	}
}

// The words by which a change of [AccountDefaults] takes a preference away, as in EC2's
// ModifyInstanceMetadataDefaults.
const (
	NoPreference         = "no-preference"
	NoHopLimitPreference = -1
)

// AccountDefaults are what new instances of one region begin with where their launch does not say. What they
// leave open too, the blueprint decides.
type AccountDefaults struct {
	Options OptionsUpdate `json:"options"`
	// TokensEnforced, when enabled, has no instance launched unless its tokens are required, and lets nobody make them
	// optional again; empty: nobody has a preference, which is as good as disabled.
	TokensEnforced EndpointMode `json:"tokensEnforced,omitempty"`
}

// Enforced says whether tokens may not be optional.
func (d AccountDefaults) Enforced() bool { return d.TokensEnforced == EndpointEnabled }

// DefaultsUpdate is a partial change of [AccountDefaults]; nil keeps the value.
type DefaultsUpdate struct {
	Options        OptionsUpdate
	TokensEnforced *EndpointMode
}
