package migrate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
)

// account is whose instance it is, as its ARN tells; empty: it does not.
func (r Ref) account() string {
	if parts := strings.SplitN(r.ID, ":", 6); len(parts) == 6 && parts[0] == "arn" {
		return parts[4]
	}
	return ""
}

// account is whose instances the roster has.
func (r Roster) account() string {
	for _, wave := range r {
		for _, m := range wave.Members {
			if of := m.account(); of != "" {
				return of
			}
		}
	}
	return ""
}

// atHome refuses a provider that has not the instances of the journal: those of another account or region, or of
// another server with the same names. A server that has moved to another address has the same instances.
func (r *Run) atHome(ctx context.Context) error {
	for _, region := range r.regions() {
		if !slices.Contains(r.provider.Regions(), region) {
			return fmt.Errorf("this journal is of the region %s, and %s is asked; name it with --region", region, strings.Join(r.provider.Regions(), ", "))
		}
	}
	all, err := r.provider.Instances(ctx)
	if err != nil && len(all) == 0 {
		return err
	}
	there, names := map[Ref]bool{}, map[[2]string]bool{}
	for _, in := range all {
		there[in.Ref], names[[2]string{in.Region, in.Name}] = true, true
		if has := in.account(); has != "" && r.state.Account != "" && has != r.state.Account {
			return fmt.Errorf("this journal is of the account %s, and the instances here are of %s: another --profile, --endpoint or key?", r.state.Account, has)
		}
	}
	known, like := 0, 0
	for _, of := range r.refs() {
		if there[of] {
			known++
		} else if names[[2]string{of.Region, of.Name}] {
			like++
		}
	}
	if known == 0 && like > 0 && err == nil {
		return fmt.Errorf("no instance of this journal is here, but %d others with their names: is this another server (--endpoint)?", like)
	}
	return nil
}

// refs are all instances of the journal.
func (r *Run) refs() []Ref {
	var refs []Ref
	for _, p := range r.all() {
		refs = append(refs, p.Ref)
	}
	for _, wave := range r.state.Roster {
		for _, m := range wave.Members {
			refs = append(refs, m.Ref)
		}
	}
	slices.SortFunc(refs, func(a, b Ref) int { return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.ID, b.ID)) })
	return slices.Compact(refs)
}

// regions are those in which the journal has instances.
func (r *Run) regions() []string {
	var regions []string
	for _, of := range r.refs() {
		regions = append(regions, of.Region)
	}
	slices.Sort(regions)
	return slices.Compact(regions)
}
