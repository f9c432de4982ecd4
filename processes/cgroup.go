package processes

import (
	"regexp"
	"strings"
)

// cgroupOf picks from /proc/PID/cgroup the path that says most: the one with a container, else the one with
// a unit, else the unified hierarchy's. On a machine with hierarchies of version 1 the engines' groups are in these.
func cgroupOf(text string) string {
	var best string
	var rank int
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 || !strings.HasPrefix(parts[2], "/") {
			continue
		}
		path, r := parts[2], 1
		if _, ok := ContainerOf(path); ok {
			r = 4
		} else if UnitOf(path) != "" {
			r = 3
		} else if parts[0] == "0" && path != "/" {
			r = 2
		}
		if r > rank {
			best, rank = path, r
		}
	}
	return best
}

// UnitOf is the unit of systemd that a control group is of: the innermost service or scope, whatever groups
// it has made below. It is empty for groups that systemd did not make.
func UnitOf(cgroup string) string {
	parts := strings.Split(cgroup, "/")
	for i := len(parts) - 1; i >= 0; i-- {
		for _, kind := range []string{".service", ".scope", ".socket", ".mount", ".swap"} {
			// A name that the kernel would take for a file of its own has an underscore before it.
			if name := strings.TrimPrefix(parts[i], "_"); strings.HasSuffix(name, kind) && len(name) > len(kind) {
				return name
			}
		}
	}
	return ""
}

// ofUsers says whether a control group is below those that are given to users, who name what they make there as they like:
// a container's ID is no word of the machine's engines then.
func ofUsers(cgroup string) bool { return strings.HasPrefix(cgroup, "/user.slice/") }

// A layout is how an engine names a container's group.
type layout struct {
	engine string
	name   *regexp.Regexp // of one name of the path; its first group is the ID
}

const longID = `([0-9a-f]{64})`

// scopes are names that tell the engine by themselves; each is the engine's documented or observed form
// with systemd as the manager of groups.
var scopes = []layout{
	{"docker", regexp.MustCompile(`^docker-` + longID + `\.scope$`)},
	{"podman", regexp.MustCompile(`^libpod-` + longID + `(?:\.scope)?$`)},
	{"containerd", regexp.MustCompile(`^cri-containerd-` + longID + `\.scope$`)},
	{"containerd", regexp.MustCompile(`^nerdctl-` + longID + `\.scope$`)},
	{"containerd", regexp.MustCompile(`^cri-containerd:` + longID + `$`)},
	{"cri-o", regexp.MustCompile(`^crio-` + longID + `(?:\.scope)?$`)},
	{"lxc", regexp.MustCompile(`^lxc\.payload\.(.+)$`)},
	{"nspawn", regexp.MustCompile(`^systemd-nspawn@(.+)\.service$`)},
	{"nspawn", regexp.MustCompile(`^machine-(.+)\.scope$`)},
}

var (
	plainID = regexp.MustCompile(`^` + longID + `$`)
	ecsID   = regexp.MustCompile(`^([0-9a-f]{32}-[0-9]+)$`) // of tasks on Fargate
	podName = regexp.MustCompile(`^(?:kubepods.*-)?pod([0-9a-f]{8}[-_]?[0-9a-f]{4}[-_]?[0-9a-f]{4}[-_]?[0-9a-f]{4}[-_]?[0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$`)
)

// ContainerOf tells the container from the path of a control group: its ID, the engine where the path tells
// it, and the UID of the pod.
func ContainerOf(cgroup string) (Container, bool) {
	parts := strings.Split(strings.Trim(cgroup, "/"), "/")
	var c Container
	var parent, pod string
	for _, part := range parts {
		part = strings.TrimPrefix(part, "_")
		if m := podName.FindStringSubmatch(part); m != nil {
			pod = strings.ReplaceAll(m[1], "_", "-")
		}
		// The innermost that is one: a machine in a container may run containers itself.
		if found, ok := containerIn(part, parent); ok {
			c = found
		}
		parent = part
	}
	if c.ID == "" {
		return Container{}, false
	}
	c.Pod = pod
	if parts[0] == "ecs" || strings.HasPrefix(parts[0], "ecstasks") {
		c.Engine = "ecs"
	}
	return c, true
}

func containerIn(part, parent string) (Container, bool) {
	for _, l := range scopes {
		if m := l.name.FindStringSubmatch(part); m != nil {
			id := m[1]
			if l.engine == "nspawn" {
				id = unescape(id)
			}
			return Container{ID: id, Engine: l.engine}, true
		}
	}
	switch {
	case parent == "lxc":
		return Container{ID: part, Engine: "lxc"}, true
	case plainID.MatchString(part) && parent == "docker":
		return Container{ID: part, Engine: "docker"}, true
	case plainID.MatchString(part), ecsID.MatchString(part):
		return Container{ID: part}, true
	}
	return Container{}, false
}

// unescape undoes what systemd does to names of units: \x2d is a hyphen.
func unescape(s string) string {
	return strings.NewReplacer(`\x2d`, "-", `\x5f`, "_", `\x2e`, ".").Replace(s)
}
