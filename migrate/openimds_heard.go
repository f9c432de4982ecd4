package migrate

import (
	"context"
	"slices"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
)

// Unheard is [listener]. An instance is answered where it is attached, or by this server without that, as its default
// instance is.
func (o OpenIMDS) Unheard(ctx context.Context, of []Instance) (map[Ref]string, error) {
	told, err := client.Call(ctx, o.api, wire.GetAttachments, wire.Nothing{})
	if err != nil {
		return nil, err
	}
	attached := map[string]wire.Attachment{}
	for _, a := range told.Attachments {
		attached[a.InstanceName] = a
	}
	unheard, asked := map[Ref]string{}, []wire.SeenRefusals{}
	for _, in := range of {
		a, there := attached[in.Name]
		switch {
		case !there:
			asked = append(asked, wire.SeenRefusals{InstanceName: in.Name})
		case a.State != "attached":
			unheard[in.Ref] = "nobody answers its guest: its attachment is " + a.State
			if a.Reason != "" {
				unheard[in.Ref] += ", " + a.Reason
			}
		}
	}
	served := map[string]bool{}
	for part := range slices.Chunk(asked, maxWaited) {
		answer, err := o.wait(ctx, part, 0)
		if err != nil {
			return nil, err
		}
		for _, one := range answer.Instances {
			served[one.InstanceName] = one.Refused != nil || len(one.Hosts) > 0
		}
	}
	for _, in := range of {
		if is, told := served[in.Name]; told && !is {
			unheard[in.Ref] = "nobody answers its guest: it is not attached ('openimds attach')"
		}
	}
	return unheard, nil
}

// Unheard asks the providers that know.
func (a regions) Unheard(ctx context.Context, of []Instance) (map[Ref]string, error) {
	unheard := map[Ref]string{}
	for region, p := range a.of {
		l, ok := p.(listener)
		if !ok {
			continue
		}
		there := slices.DeleteFunc(slices.Clone(of), func(in Instance) bool { return in.Region != region })
		more, err := l.Unheard(ctx, there)
		if err != nil {
			return nil, err
		}
		for ref, why := range more {
			unheard[ref] = why
		}
	}
	return unheard, nil
}
