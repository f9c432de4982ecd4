package sandbox

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tunDevice is what both programs make their network interface with.
const tunDevice = "/dev/net/tun"

// resolvConf names the resolvers (resolv.conf(5)).
const resolvConf = "/etc/resolv.conf"

// connect gives the namespace a way to the rest of the network, and tells what is not as outside.
func connect(network Network, netns string) (notes []string) {
	ways := []Network{network}
	switch network {
	case None:
		return nil
	case Auto:
		ways = []Network{Pasta, Slirp4netns}
	}
	for _, way := range ways {
		program := found(string(way))
		if program == "" {
			if network != Auto {
				notes = append(notes, string(way)+" is not installed")
			}
			continue
		}
		err := withScratch(func(dir string) error { return connectBy(way, program, netns, dir) })
		if err == nil {
			return nil
		}
		notes = append(notes, fmt.Sprintf("%s failed: %v", way, err))
	}
	if len(notes) == 0 {
		notes = append(notes, "neither pasta (package passt) nor slirp4netns is installed")
	}
	return append(notes, "the command has the loopback interface and the metadata service, and no other network")
}

// withScratch calls do with a directory for files that nobody else sees and that nobody has to remove:
// a file system in memory, mounted for the time being where this mount namespace has its temporary
// files. What is bind-mounted from there stays.
func withScratch(do func(dir string) error) error {
	dir := os.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0755"); err != nil {
		return fmt.Errorf("a directory in memory at %s: %w", dir, err)
	}
	err := do(dir)
	if uerr := unix.Unmount(dir, unix.MNT_DETACH); err == nil && uerr != nil {
		err = fmt.Errorf("unmount %s: %w", dir, uerr)
	}
	return err
}

func connectBy(way Network, program, netns, dir string) error {
	// Either program gets a plain path to the namespace: what is in /proc of another process it may
	// not be allowed to look at, having dropped privileges first.
	path := filepath.Join(dir, "netns")
	err := os.WriteFile(path, nil, 0o644)
	if err == nil {
		err = unix.Mount(netns, path, "", unix.MS_BIND, "")
	}
	if err != nil {
		return fmt.Errorf("the namespace cannot be passed on: %w", err)
	}
	resolvers, _ := os.ReadFile(resolvConf)
	resolver, start := pastaResolver, pasta
	if way == Slirp4netns {
		resolver, start = slirpResolver, slirp4netns
	}
	changed, local := replaceResolvers(string(resolvers), resolver)
	if err := start(program, path, local); err != nil || !local {
		return err
	}
	file := filepath.Join(dir, "resolv.conf")
	if err = os.WriteFile(file, []byte(changed), 0o644); err == nil {
		err = unix.Mount(file, resolvConf, "", unix.MS_BIND, "")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", resolvConf, err)
	}
	return nil
}

// connectTime is how long either may take, which is a fraction of a second.
const connectTime = 15 * time.Second

// Where the two answer for the host's resolver.
const (
	pastaResolver = "169.254.1.1"
	slirpResolver = "10.0.2.3"
)

// pasta starts pasta, which goes into the background when the network is up. No port of the namespace
// is opened outside; those of the host's loopback interface can be reached inside.
func pasta(program, netns string, resolve bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), connectTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--config-net", "--netns-only", "--no-netns-quit", "--no-map-gw", "--quiet",
		"-t", "none", "-u", "none", "-T", "auto", "-U", "auto", "--netns", netns)
	if resolve { // only then: older ones take all answers of the host's resolver for their own
		cmd.Args = append(cmd.Args, "--dns-forward", pastaResolver)
	}
	if os.Geteuid() == 0 { // else it becomes nobody, who may not enter
		cmd.Args = append(cmd.Args, "--runas", "0:0")
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, told(out))
	}
	return nil
}

// slirp4netns starts slirp4netns and waits until the network is up.
func slirp4netns(program, netns string, _ bool) error {
	ready, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = ready.Close() }()
	cmd := exec.Command(program, "--configure", "--mtu=65520", "--ready-fd=3", "--netns-type=path", netns, "tap0")
	cmd.ExtraFiles = []*os.File{tell}
	var out head
	cmd.Stderr = &out
	err = cmd.Start()
	_ = tell.Close()
	if err != nil {
		return err
	}
	_ = ready.SetReadDeadline(time.Now().Add(connectTime))
	if n, _ := ready.Read(make([]byte, 1)); n == 1 {
		return nil // it runs on; the warden's end is its own
	}
	_ = cmd.Process.Kill()
	err = cmd.Wait()
	return fmt.Errorf("%w: %s", err, told(out))
}

// head keeps the beginning of what is written to it.
type head []byte

func (h *head) Write(p []byte) (int, error) {
	const size = 4 << 10
	*h = append(*h, p[:min(len(p), size-len(*h))]...)
	return len(p), nil
}

// told is what a program said, in one line, without its complaints that nobody listens.
func told(out []byte) string {
	var lines []string
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, "syslog") {
			lines = append(lines, line)
		}
	}
	said := strings.Join(lines, "; ")
	if _, err := os.Stat(tunDevice); err != nil && strings.Contains(said, "tun") {
		said += "; " + tunDevice + " is missing: 'modprobe tun' makes it, and a container needs --device " + tunDevice
	} else if strings.Contains(said, "Failed to open tun") {
		said += "; let this user read and write " + tunDevice + ", in a container with --device " + tunDevice
	}
	return said
}

// replaceResolvers puts another address in place of name servers that are all on the loopback
// interface, which the namespace has not.
func replaceResolvers(text, resolver string) (changed string, local bool) {
	var out strings.Builder
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			out.WriteString(line)
			continue
		}
		a, err := netip.ParseAddr(fields[1])
		if err == nil && !a.IsLoopback() {
			return text, false
		}
		if !local {
			out.WriteString("nameserver " + resolver + "\n")
		}
		local = true
	}
	return out.String(), local
}
