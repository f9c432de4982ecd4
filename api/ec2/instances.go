package ec2

import (
	"context"
	"encoding/base64"
	"regexp"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/ec2/wire"
	"github.com/openimds/openimds/control"
)

var idForm = regexp.MustCompile(`^i-[0-9a-f]{8,17}$`)

// checkIDs refuses what is no instance's id.
func checkIDs(ids ...string) error {
	for _, id := range ids {
		if !idForm.MatchString(id) {
			return invalid("InvalidInstanceID.Malformed", `Invalid id: "%.100s"`, id)
		}
	}
	return nil
}

func (c *call) describeInstances(ctx context.Context, in *wire.DescribeInstancesRequest) (wire.DescribeInstancesResult, error) {
	result := wire.DescribeInstancesResult{Reservations: []wire.Reservation{}}
	found, next, err := c.find(ctx, c.list("DescribeInstances", in.InstanceIDs, in.Filters), in.InstanceIDs, in.Filters, in.MaxResults, in.NextToken, nil)
	if err != nil {
		return result, err
	}
	result.NextToken = next
	at := map[string]int{} // of reservations
	for _, one := range found {
		key := one.ReservationID + "/" + one.OwnerID
		i, known := at[key]
		if !known {
			i = len(result.Reservations)
			at[key] = i
			result.Reservations = append(result.Reservations, wire.Reservation{ReservationID: one.ReservationID, OwnerID: one.OwnerID, GroupSet: []wire.Group{}})
		}
		result.Reservations[i].Instances = append(result.Reservations[i].Instances, show(one))
	}
	return result, nil
}

// scan is how many instances are looked at together, and scanned how many for one answer: a filter that matches few
// does not hold up the others' requests.
const (
	scan    = 500
	scanned = 20 * scan
)

// find returns the instances that a request selects: those of the ids, or a page of all, living ones by their names
// before terminated ones. only, where it is not nil, says which of all are meant.
func (c *call) find(ctx context.Context, list string, ids []string, asked []wire.Filter, results *int, token string, only func(*openimds.Instance) bool) ([]*openimds.Instance, string, error) {
	filters, err := readFilters(asked, instanceAttributes)
	if err != nil {
		return nil, "", err
	}
	if len(ids) > 0 && results != nil {
		return nil, "", invalid("InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults")
	}
	p, err := readPage(list, results, token)
	if err != nil {
		return nil, "", err
	}
	if len(ids) > 0 {
		found, err := c.findByID(ctx, ids, filters)
		return found, "", err
	}
	all := len(asked) == 0 && only == nil
	var found []*openimds.Instance
	for seen := 0; len(found) < p.size && seen < scanned; {
		limit := scan
		if all {
			limit = min(scan, p.size-len(found))
		}
		some, next, err := c.some(ctx, p.after, limit)
		if err != nil {
			return nil, "", err
		}
		seen += limit
		terminated := strings.HasPrefix(p.after, gone)
		p.after = next
		for i, one := range some {
			if only != nil && !only(one) {
				continue
			}
			if matches, err := filters.match(ctx, one); err != nil {
				return nil, "", err
			} else if !matches {
				continue
			}
			if found = append(found, one); len(found) == p.size && i < len(some)-1 {
				p.after = behind(one, terminated)
				break
			}
		}
		if next == "" {
			break
		}
	}
	return found, p.next(p.after), nil
}

// The two parts of the list of instances.
const (
	living = "n/" // and a name behind which it goes on
	gone   = "t/" // and an id
)

// behind is the place behind an instance.
func behind(one *openimds.Instance, terminated bool) string {
	if terminated {
		return gone + one.ID
	}
	return living + one.Name
}

// some returns instances behind a place, and the place behind them; empty: there are no more.
func (c *call) some(ctx context.Context, after string, limit int) (found []*openimds.Instance, next string, err error) {
	if id, terminated := strings.CutPrefix(after, gone); terminated {
		found, next, err = c.service.AllTerminated(ctx, id, limit)
		if next != "" {
			next = gone + next
		}
		return found, next, err
	}
	found, next, err = c.service.Instances(ctx, strings.TrimPrefix(after, living), limit)
	if next == "" {
		return found, gone, err
	}
	return found, living + next, err
}

func (c *call) findByID(ctx context.Context, ids []string, filters filters[*openimds.Instance]) ([]*openimds.Instance, error) {
	if err := checkIDs(ids...); err != nil {
		return nil, err
	}
	var found []*openimds.Instance
	seen := map[string]bool{}
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		one, err := c.service.InstanceOfID(ctx, id)
		if err != nil {
			return nil, err
		}
		matches, err := filters.match(ctx, one)
		if err != nil {
			return nil, err
		}
		if matches {
			found = append(found, one)
		}
	}
	return found, nil
}

// stateOf shows a state with EC2's number for it.
func stateOf(s openimds.InstanceState) wire.InstanceState {
	codes := map[openimds.InstanceState]int{
		openimds.StatePending: 0, openimds.StateRunning: 16, openimds.StateShuttingDown: 32,
		openimds.StateTerminated: 48, openimds.StateStopping: 64, openimds.StateStopped: 80,
	}
	return wire.InstanceState{Code: codes[s], Name: s}
}

func stateChanges(moved []control.StateChange, err error) (wire.StateChangesResult, error) {
	result := wire.StateChangesResult{Instances: []wire.StateChange{}}
	for _, m := range moved {
		result.Instances = append(result.Instances, wire.StateChange{InstanceID: m.ID, CurrentState: stateOf(m.To), PreviousState: stateOf(m.From)})
	}
	return result, err
}

func (c *call) startInstances(ctx context.Context, in *wire.StartInstancesRequest) (wire.StateChangesResult, error) {
	if err := checkIDs(in.InstanceIDs...); err != nil {
		return wire.StateChangesResult{}, err
	}
	return stateChanges(c.service.StartInstances(ctx, in.InstanceIDs))
}

func (c *call) stopInstances(ctx context.Context, in *wire.StopInstancesRequest) (wire.StateChangesResult, error) {
	if err := checkIDs(in.InstanceIDs...); err != nil {
		return wire.StateChangesResult{}, err
	}
	return stateChanges(c.service.StopInstances(ctx, in.InstanceIDs, in.Force))
}

func (c *call) rebootInstances(ctx context.Context, in *wire.RebootInstancesRequest) (wire.Done, error) {
	if err := checkIDs(in.InstanceIDs...); err != nil {
		return wire.Done{}, err
	}
	_, err := c.service.RebootInstances(ctx, in.InstanceIDs)
	return done(err)
}

func (c *call) terminateInstances(ctx context.Context, in *wire.TerminateInstancesRequest) (wire.StateChangesResult, error) {
	if err := checkIDs(in.InstanceIDs...); err != nil {
		return wire.StateChangesResult{}, err
	}
	return stateChanges(c.service.TerminateInstances(ctx, in.InstanceIDs))
}

func (c *call) describeInstanceAttribute(ctx context.Context, in *wire.DescribeInstanceAttributeRequest) (wire.InstanceAttribute, error) {
	result := wire.InstanceAttribute{InstanceID: in.InstanceID}
	if err := checkIDs(in.InstanceID); err != nil {
		return result, err
	}
	found, err := c.service.Instance(ctx, in.InstanceID)
	if err != nil {
		return result, err
	}
	switch in.Attribute {
	case "userData":
		result.UserData = &wire.Value{Value: base64.StdEncoding.EncodeToString(found.UserData)}
	case "instanceType":
		result.InstanceType = &wire.Value{Value: found.InstanceType}
	case "kernel":
		result.Kernel = &wire.Value{Value: found.KernelID}
	case "ramdisk":
		result.Ramdisk = &wire.Value{Value: found.RamdiskID}
	case "rootDeviceName":
		result.RootDeviceName = &wire.Value{Value: rootDevice(found)}
	case "disableApiTermination":
		result.DisableAPITermination = &wire.Truth{}
	case "disableApiStop":
		result.DisableAPIStop = &wire.Truth{}
	case "groupSet":
		result.GroupSet = new(groupsOf(found))
	default:
		return result, invalid("UnsupportedOperation", "The attribute %s is not supported: openimds does not know it", in.Attribute)
	}
	return result, nil
}
