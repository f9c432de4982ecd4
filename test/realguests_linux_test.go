package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// lines turns "word rest of the line" into a map.
func lines(out string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(out) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		all[word] = rest
	}
	return all
}

// Debian's cloud-init finds the Ec2 data source at the real address, with tokens required and hop limit 1,
// and makes of it what it makes on EC2.
func TestCloudInitAtBoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a guest of this host needs root")
	}
	for _, program := range []string{"cloud-init", "ip", "nsenter", "curl"} {
		need(t, program)
	}
	script, err := filepath.Abs(filepath.Join("testdata", "cloud-init.sh"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--mount", "--net", "sh", script, t.TempDir(), filepath.Join(filepath.Dir(script), "net-utils.sh"), netUtilsLibrary())
	cmd.Env = without(os.Environ(), "AWS_", "OPENIMDS_")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := lines(string(out))
	if served := lines(strings.ReplaceAll(string(out), "served ", "served-")); got["instance"] == "" || got["instance"] != served["served-instance"] ||
		got["key"] == "" || got["key"] != served["served-key"] {
		t.Errorf("it is not the instance that was served:\n%s", out)
	}
	// It knows its own interface by the MAC address, so it has a configuration for it, with the second address.
	want := `{"ethernets": {"eth0": {"addresses": ["172.26.0.10/20"], "dhcp4": true, "dhcp6": false, "match": {"macaddress": "` +
		got["link"] + `"}, "set-name": "eth0"}}, "version": 2}`
	if got["network"] != want {
		t.Errorf("the network configuration is %s, want %s", got["network"], want)
	}
	if asked := got["addresses"]; asked != "" && (asked != "172.26.0.9 172.26.0.9" || got["asked-mac"] != got["link"] ||
		got["subnet-ipv4-cidr-block"] != "172.26.0.0/20" || got["ipv6s"] != "absent") {
		t.Errorf("amazon-ec2-net-utils are told:\n%s", out)
	}
	if got["datasource"] != "aws" || got["hostname"] != "ip-172-26-0-9" || got["user"] != "data done" || got["without"] != "token 0" {
		t.Errorf("%s", out)
	}
}

// netUtilsLibrary is where amazon-ec2-net-utils is, if it is.
func netUtilsLibrary() string {
	return filepath.Join("/", os.Getenv("EC2_NET_UTILS"), "usr/share/amazon-ec2-net-utils/lib.sh")
}

// Debian's amazon-ec2-net-utils get an answer to all that they ask.
func TestNetUtils(t *testing.T) {
	need(t, "curl")
	need(t, "bash")
	library := netUtilsLibrary()
	if _, err := os.Stat(library); err != nil {
		t.Skip("amazon-ec2-net-utils is not installed, nor unpacked at $EC2_NET_UTILS")
	}
	script, err := filepath.Abs(filepath.Join("testdata", "net-utils.sh"))
	if err != nil {
		t.Fatal(err)
	}
	out := runInside(t, nil, "bash", script, library)
	got := lines(out)
	addresses := strings.Fields(got["addresses"])
	if len(addresses) != 2 || addresses[0] != addresses[1] {
		t.Errorf("addresses %q", addresses)
	}
	for key, form := range map[string]string{
		"device-number": `^0$`, "subnet-ipv4-cidr-block": `^172\.26\.[0-9.]+/20$`, "ipv6s": `^[0-9a-f:]+$`,
		"ipv4-prefix": `^absent$`, "ipv6-prefix": `^absent$`,
	} {
		if !regexp.MustCompile(form).MatchString(got[key]) {
			t.Errorf("%s is %q", key, got[key])
		}
	}
}

// The programs of the package ec2-instance-connect let in the keys that were pushed, while they are valid and where the
// guest knows the authority, with tokens required and hop limit 1.
func TestInstanceConnect(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a guest of this host needs root")
	}
	for _, program := range []string{"ip", "nsenter", "curl", "openssl", "ssh-keygen", "logger"} {
		need(t, program)
	}
	programs := os.Getenv("EC2_INSTANCE_CONNECT")
	if programs == "" {
		programs = "/usr/share/ec2-instance-connect"
	}
	if _, err := os.Stat(filepath.Join(programs, "eic_parse_authorized_keys")); err != nil {
		t.Skip("ec2-instance-connect is not installed, nor are its programs at $EC2_INSTANCE_CONNECT")
	}
	script, err := filepath.Abs(filepath.Join("testdata", "instance-connect.sh"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--mount", "--net", "sh", script, t.TempDir(), programs)
	cmd.Env = without(os.Environ(), "AWS_", "OPENIMDS_")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := lines(string(out))
	one, two := got["want-one"], got["want-two"]
	if one == "" || got["before"] != "" || got["one"] != one || got["both"] != one+" "+two || got["second"] != two || got["foreign"] != "" || got["unknown-authority"] != "" {
		t.Errorf("%s", out)
	}
}
