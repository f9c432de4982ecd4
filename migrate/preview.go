package migrate

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Step is what a plan would do with an instance now.
type Step struct {
	Wave       string     `json:"wave"`
	Assessment Assessment `json:"assessment"`
	// Requires says that tokens would be required; else Why not.
	Requires bool   `json:"requires"`
	Why      string `json:"why"`
}

// Preview is what a plan would do now. It changes nothing.
func Preview(ctx context.Context, p Provider, plan *Plan) ([]Step, error) {
	all, err := p.Instances(ctx)
	if err != nil {
		return nil, err
	}
	crews, err := plan.Crews(all)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	steps := []Step{}
	for _, crew := range crews {
		for _, a := range Status(ctx, p, crew.Members, plan.Criteria, now) {
			step := Step{Wave: crew.Name, Assessment: a, Requires: a.Verdict == Ready, Why: a.Reason}
			if e := plan.excepted(a.Instance, now); e != nil {
				step.Requires, step.Why = false, e.String()
			}
			steps = append(steps, step)
		}
	}
	return steps, ctx.Err()
}

// Draft is what a plan is written from.
type Draft struct {
	Provider string
	Regions  []string
	Criteria Criteria
	Hold     time.Duration
	Unseen   bool
	// Canary are the names of those that go first, and Waves further ones, each as name:PATTERN, tag:KEY=VALUE
	// or share:PERCENT%. All that is left goes last.
	Canary []string
	Waves  []string
}

// WritePlan writes a plan in the form that [ParsePlan] reads. With the assessments, it says beside each instance
// that is not ready what is in its way.
func WritePlan(d Draft, found []Assessment) (string, error) {
	var b strings.Builder
	write := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	write("# Who goes to IMDSv2, in which order and on which terms. Change what you like, look at what it would do with")
	write("# 'openimds migrate apply FILE', and have it done with --yes. Instances that are not ready are left as they are.")
	write("plan: 1")
	write("provider: %s", d.Provider)
	write("regions: [%s]", strings.Join(d.Regions, ", "))
	beside := func(setting string, value any, why string) {
		write("%-21s # %s", fmt.Sprintf("%s: %v", setting, value), why)
	}
	write("criteria:             # what makes an instance ready")
	beside("  window", spell(d.Criteria.Window), "nobody has called without a token for as long as this")
	beside("  calls", d.Criteria.Calls, "but for so many calls; one that was refused counts more than any")
	beside("  gaps", spell(d.Criteria.Gaps), "and but for so much of the window of which nothing is known")
	beside("  reboots", d.Criteria.Reboots, "in that time it was rebooted so often")
	beside("  month-ends", d.Criteria.MonthEnds, "and saw so many month ends")
	beside("hold", spell(d.Hold), "how long a wave is watched before the next one")
	if d.Unseen {
		beside("refusals", "unseen", "nobody sees there who is refused, so nobody is brought back by itself")
	} else {
		beside("refusals", "return", "an instance on which a caller is refused gets its options back, and the plan stops")
	}
	write("waves:")
	if len(d.Canary) > 0 {
		write("  - name: canary")
		write("    names: [%s]", quoted(d.Canary))
	}
	for i, w := range d.Waves {
		kind, what, _ := strings.Cut(w, ":")
		write("  - name: wave-%d", i+1)
		switch kind {
		case "name":
			write("    names: [%s]", quoted(strings.Split(what, ",")))
		case "tag":
			write("    tags: [%s]", quoted(strings.Split(what, ",")))
		case "share":
			write("    names: ['*']")
			write("    share: %s", what)
		default:
			return "", fmt.Errorf("a wave is name:PATTERN, tag:KEY=VALUE or share:10%%, not %q", w)
		}
	}
	write("  - name: rest\n    rest: true")
	write("exceptions: []")
	write("#  - names: [legacy-*]        # left as they are")
	write("#    owner: payments@example.com\n#    until: 2027-01-31\n#    reason: their agent is replaced in January")
	write("#  - names: [web-1]           # may be required, although this caller is refused")
	write("#    user-agent: old-agent/*\n#    owner: web@example.com\n#    until: 2027-01-31")
	for i, a := range found {
		if i == 0 {
			write("\n# As it is now:")
		}
		write("# %s/%s: %s: %s", a.Region, comment(a.Name), a.Verdict, comment(a.Reason))
	}
	_, err := ParsePlan([]byte(b.String()))
	return b.String(), err
}

// comment is a text that stays in its line.
func comment(text string) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprintf("%q", text), `\"`, `"`), `"`)
}

// quoted are texts in a list of YAML.
func quoted(texts []string) string {
	all := make([]string, len(texts))
	for i, text := range texts {
		all[i] = "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	return strings.Join(all, ", ")
}

// spell is a duration as [ParseSpan] reads it.
func spell(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	return strings.TrimSuffix(text, "h0m") + map[bool]string{true: "h"}[strings.HasSuffix(text, "h0m")]
}
