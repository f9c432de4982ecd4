package clients

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openimds/openimds"
)

// python returns an interpreter that has a module. Distributions keep theirs apart from those that
// users install.
func python(t *testing.T, module string) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		cmd := exec.Command(name, "-c", "import "+module)
		cmd.Dir = t.TempDir() // else a file here could pass for the module
		if cmd.Run() == nil {
			return name
		}
	}
	t.Skipf("no python3 with the module %s is installed", module)
	return ""
}

// script runs one of the Python scripts of testdata and reads the JSON that it prints.
func (s *server) script(t *testing.T, interpreter, file string, into any, args ...string) {
	t.Helper()
	out := s.run(t, interpreter, append([]string{"-B", filepath.Join("testdata", file)}, args...)...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("%s: %v: %s", file, err, out)
	}
}

func TestBoto3(t *testing.T) {
	interpreter := python(t, "boto3")
	s := serve(t, required)
	before := s.roleSet(t, s.token(t))
	var got struct {
		Role, Method, Region string
		Fetched, Found       credentials
	}
	s.script(t, interpreter, "find_credentials.py", &got)
	s.expectSet(t, got.Fetched, before)
	s.expectSet(t, got.Found, before)
	if got.Role != s.Instance.Role.Name || got.Method != "iam-role" || got.Region != s.Instance.Region {
		t.Errorf("role %q by %q in region %q", got.Role, got.Method, got.Region)
	}
}

// Software of the time before IMDSv2 still runs while tokens are optional, and gets version 1's set.
func TestBoto3Version1(t *testing.T) {
	interpreter := python(t, "boto3")
	s := serve(t, nil)
	before := s.roleSet(t, "")
	out := s.run(t, interpreter, "-B", filepath.Join("testdata", "find_key_without_token.py"), "http://"+s.IMDS+"/")
	if got := strings.TrimSpace(out); got != before.AccessKeyID && got != s.roleSet(t, "").AccessKeyID {
		t.Error("the key is not that of version 1's set")
	}
}

func TestAWSCLI(t *testing.T) {
	need(t, "aws")
	s := serve(t, required)
	before := s.roleSet(t, s.token(t))
	listed := s.run(t, "aws", "configure", "list")
	row := func(name string) []string {
		for line := range strings.Lines(listed) {
			// Version 2 separates its columns by colons where version 1 has blanks only.
			if fields := strings.Fields(strings.ReplaceAll(line, " : ", " ")); len(fields) > 2 && fields[0] == name {
				return fields
			}
		}
		t.Fatalf("no line about %s:\n%s", name, listed)
		return nil
	}
	for name, secrets := range map[string][2]string{
		"access_key": {before.AccessKeyID, s.roleSet(t, s.token(t)).AccessKeyID},
		"secret_key": {before.SecretAccessKey, s.roleSet(t, s.token(t)).SecretAccessKey},
	} {
		fields := row(name)
		shown := strings.TrimLeft(fields[1], "*")
		if fields[2] != "iam-role" || len(shown) != 4 || !strings.HasSuffix(secrets[0], shown) && !strings.HasSuffix(secrets[1], shown) {
			t.Errorf("%q does not show the role's", fields)
		}
	}
	// Only version 2 asks the instance for its region.
	if fields := row("region"); fields[len(fields)-1] == "imds" && fields[1] != s.Instance.Region {
		t.Errorf("region %q", fields)
	}
}

func TestCloudInit(t *testing.T) {
	interpreter := python(t, "cloudinit.sources.DataSourceEc2")
	userData := "#cloud-config\nruncmd: [true]\n"
	s := serve(t, func(in *openimds.Instance) {
		required(in)
		in.UserData = []byte(userData)
		in.PublicKeys = []openimds.PublicKey{{Name: "mine", Key: publicKey(t)}}
		in.Tags = []openimds.Tag{{Key: "Name", Value: "web"}, {Key: "Stage", Value: "a b"}}
		in.Options.Tags = openimds.EndpointEnabled
	})
	var got struct {
		Version, UserData, Instance, Hostname, Zone, Region string

		Keys     []string
		Metadata struct {
			ID      string `json:"instance-id"`
			Tags    struct{ Instance map[string]string }
			Network struct {
				Interfaces struct{ MACs map[string]any }
			}
		}
		Network struct {
			Ethernets map[string]struct{ Match struct{ MACAddress string } }
		}
	}
	s.script(t, interpreter, "crawl_metadata.py", &got, "http://"+s.IMDS)
	in := s.Instance
	for what, pair := range map[string][2]string{
		"instance":  {got.Instance, in.ID},
		"meta-data": {got.Metadata.ID, in.ID},
		"user data": {got.UserData, userData},
		"hostname":  {got.Hostname, in.NICs[0].LocalHostname},
		"zone":      {got.Zone, in.Zone},
		"region":    {got.Region, in.Region},
		"keys":      {strings.Join(got.Keys, "\n"), in.PublicKeys[0].Key},
		"tag":       {got.Metadata.Tags.Instance["Stage"], "a b"},
		"interface": {got.Network.Ethernets["eth0"].Match.MACAddress, in.NICs[0].MAC},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, not %q", what, pair[0], pair[1])
		}
	}
	if status, _ := s.get(t, "/"+got.Version+"/meta-data/instance-id", s.token(t)); status != http.StatusOK {
		t.Errorf("cloud-init settled on the version %q, which answers %d", got.Version, status)
	}
	if _, ok := got.Metadata.Network.Interfaces.MACs[in.NICs[0].MAC]; !ok {
		t.Errorf("the crawl did not find the interface: %v", got.Metadata.Network)
	}
}

// publicKey reads a key of this repository's test data, in the form of an authorized_keys line.
func publicKey(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "id_ed25519.pub"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}
