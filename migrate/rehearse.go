package migrate

import (
	"fmt"
	"strings"
	"time"
)

// Rehearsing are the instances of a wave, or of all waves without a name, on which required tokens can be
// rehearsed: not those that require them already, nor those that an exception leaves out now.
func (p *Plan) Rehearsing(all []Instance, wave string, now time.Time) ([]Instance, error) {
	crews, err := p.Crews(all)
	if err != nil {
		return nil, err
	}
	var found []Instance
	var waves []string
	known := wave == ""
	for _, crew := range crews {
		waves = append(waves, crew.Name)
		if wave != "" && crew.Name != wave {
			continue
		}
		known = true
		for _, in := range crew.Members {
			if in.Options.Tokens == optional && p.excepted(in, now) == nil {
				found = append(found, in)
			}
		}
	}
	if !known {
		return nil, fmt.Errorf("the plan has no wave %q; its waves are %s", wave, strings.Join(waves, ", "))
	}
	return found, nil
}
