package processes

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// container adds to a container what its engine says of it. What an engine has written about its running
// containers is read first: that waits for nobody.
func (n *Namer) container(ctx context.Context, c Container) Container {
	key := c.Engine + "/" + c.ID
	if known, ok := n.containers.get(key); ok {
		return known
	}
	if ctx.Err() != nil {
		return c
	}
	name, pod, ok := n.ofSpec(c.ID)
	if !ok {
		name, ok = n.ofDockerFile(c.ID)
	}
	if !ok {
		name, ok = n.ofPodmanFile(c.ID)
	}
	if !ok && (c.Engine == "docker" || c.Engine == "") {
		name, pod, ok = n.ask(ctx, c.ID)
	}
	switch {
	case ok:
		c.Name = name
		if pod != "" {
			c.Pod = pod
		}
	case c.Engine == "lxc" || c.Engine == "nspawn":
		c.Name = c.ID
	}
	if c.Name != "" || ctx.Err() == nil {
		n.containers.put(key, c)
	}
	return c
}

// specs are where the specification of a running container lies, which has its names among the annotations
// (opencontainers/runtime-spec, config.md): containerd's and the places of CRI-O and podman.
var specs = []string{
	"/run/containerd/io.containerd.runtime.v2.task/*/%/config.json",
	"/run/k3s/containerd/io.containerd.runtime.v2.task/*/%/config.json",
	"/run/containers/storage/overlay-containers/%/userdata/config.json",
	"/var/run/containers/storage/overlay-containers/%/userdata/config.json",
}

func (n *Namer) ofSpec(id string) (name, pod string, ok bool) {
	if !plain(id) {
		return "", "", false
	}
	for _, pattern := range specs {
		files, _ := filepath.Glob(n.file(strings.ReplaceAll(pattern, "%", id)))
		for _, file := range files {
			text, err := readUpTo(file, 1<<20)
			if err != nil {
				continue
			}
			var spec struct {
				Annotations map[string]string `json:"annotations"`
			}
			if json.Unmarshal(text, &spec) != nil {
				continue
			}
			if name, pod = ofAnnotations(spec.Annotations); name != "" || pod != "" {
				return name, pod, true
			}
		}
	}
	return "", "", false
}

// ofAnnotations finds the names that the engines give to containers of theirs, the most telling first.
func ofAnnotations(a map[string]string) (name, pod string) {
	first := func(keys ...string) string {
		for _, key := range keys {
			if a[key] != "" {
				return a[key]
			}
		}
		return ""
	}
	name = first("io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name", "io.container.manager.name")
	pod = first("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name")
	if space := first("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"); space != "" && pod != "" {
		pod = space + "/" + pod
	}
	if name == "" && pod != "" {
		name = "(pod)" // the container that only holds the pod's namespaces has no name
	}
	return name, pod
}

func (n *Namer) ofDockerFile(id string) (string, bool) {
	if !plain(id) {
		return "", false
	}
	text, err := readUpTo(n.file("/var/lib/docker/containers/"+id+"/config.v2.json"), 1<<20)
	if err != nil {
		return "", false
	}
	var config struct{ Name string }
	if json.Unmarshal(text, &config) != nil || config.Name == "" {
		return "", false
	}
	return strings.TrimPrefix(config.Name, "/"), true
}

func (n *Namer) ofPodmanFile(id string) (string, bool) {
	text, err := readUpTo(n.file("/var/lib/containers/storage/overlay-containers/containers.json"), 8<<20)
	if err != nil {
		return "", false
	}
	var all []struct {
		ID    string   `json:"id"`
		Names []string `json:"names"`
	}
	if json.Unmarshal(text, &all) != nil {
		return "", false
	}
	for _, c := range all {
		if c.ID == id && len(c.Names) > 0 {
			return c.Names[0], true
		}
	}
	return "", false
}

// askDocker asks at docker's socket, and at podman's, which answers alike.
func (n *Namer) askDocker(ctx context.Context, id string) (name, pod string, ok bool) {
	if !plain(id) {
		return "", "", false
	}
	for _, socket := range []string{"/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock"} {
		socket = n.file(socket)
		if info, err := os.Stat(socket); err != nil || info.Mode()&os.ModeSocket == 0 {
			continue
		}
		if name, pod, ok := askSocket(ctx, socket, id); ok {
			return name, pod, true
		}
	}
	return "", "", false
}

func askSocket(ctx context.Context, socket, id string) (name, pod string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, engineWait)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/containers/"+id+"/json", nil)
	if err != nil {
		return "", "", false
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return "", "", false
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return "", "", false
	}
	var answer struct {
		Name   string
		Config struct{ Labels map[string]string }
	}
	if json.NewDecoder(io.LimitReader(response.Body, 4<<20)).Decode(&answer) != nil || answer.Name == "" {
		return "", "", false
	}
	labelled, pod := ofAnnotations(answer.Config.Labels)
	if pod != "" && labelled != "" {
		return labelled, pod, true
	}
	return strings.TrimPrefix(answer.Name, "/"), pod, true
}

// plain keeps names of containers, which may be anybody's, from being paths and patterns.
func plain(id string) bool {
	return id != "" && !strings.ContainsAny(id, `/\*?[]%`) && !strings.HasPrefix(id, ".")
}
