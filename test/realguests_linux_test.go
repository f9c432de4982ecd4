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
	cmd := exec.Command("unshare", "--mount", "--net", "sh", script, t.TempDir())
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
	if got["datasource"] != "aws" || got["hostname"] != "ip-172-26-0-9" || got["user"] != "data done" || got["without"] != "token 0" {
		t.Errorf("%s", out)
	}
}

// Debian's amazon-ec2-net-utils get an answer to all that they ask.
func TestNetUtils(t *testing.T) {
	need(t, "curl")
	need(t, "bash")
	library := "/usr/share/amazon-ec2-net-utils/lib.sh"
	if unpacked := os.Getenv("EC2_NET_UTILS"); unpacked != "" {
		library = filepath.Join(unpacked, library)
	}
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
