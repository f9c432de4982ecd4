package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// judged is a guest that calls, and how it has to be told of.
type judged struct {
	argv     string // a part of its command line that no other one has
	instance string
	agent    string // what its User-Agent begins with
	place    string // a part of its unit or container
	// versions are what "trace" tells of its calls: v1, v2 and v2-token.
	versions string
	v1       bool // "callers" has calls without a token of it
	// advice are the codes of what there is to do.
	advice    string
	forwarded bool
}

// judgedGuests are those of testdata/judged.sh. what: boto3, cloud-init, wget, cgroups and the old SDK are not everywhere.
func judgedGuests(dir string, has map[string]bool) map[string]judged {
	const box, routed = "web-1", "web-2"
	guests := map[string]judged{
		"curl without a token": {argv: dir + "/curl -sf http://169.254.169.254/latest/meta-data/instance-id", instance: box, agent: "curl/", versions: "v1", v1: true, advice: "Rewrite"},
		"curl for a token":     {argv: "/api/token -o " + dir + "/token", instance: box, agent: "curl/", versions: "v2-token"},
		"curl with a token":    {argv: dir + "/curl -sf -H X-aws-ec2-metadata-token:", instance: box, agent: "curl/", versions: "v2"},
		"minio-go of 2020":     {argv: "minio-go " + dir, instance: box, agent: "Go-http-client/", versions: "v1", v1: true, advice: "ChangeProgram"},
		"what ends at once":    {argv: dir + "/instant plain", instance: box, agent: "instant/1", versions: "v1", v1: true, advice: "FindProgram"},
		"a proxy":              {argv: "proxy.py " + dir, instance: box, agent: "curl/", versions: "v1 v2-token", v1: true, advice: "StopForwarding", forwarded: true},
		// It may be a script's that asked for a token by another command.
		"curl behind a hop":             {argv: dir + "/curl -sf http://169.254.169.254/latest/meta-data/mac", instance: routed, agent: "curl/", versions: "v1", v1: true, advice: "RaiseHopLimit Rewrite"},
		"curl for a token behind a hop": {argv: dir + "/curl -s -m 3", instance: routed, agent: "curl/", versions: "v2-token", advice: "RaiseHopLimit"},
	}
	further := map[string]map[string]judged{
		"wget":       {"wget": {argv: dir + "/wget", instance: box, agent: "Wget/", versions: "v1", v1: true, advice: "Rewrite"}},
		"old SDK":    {"an SDK of 2015": {argv: "old_sdk.js " + dir, instance: box, agent: "aws-sdk-nodejs/2.2.0", versions: "v1", v1: true, advice: "Upgrade"}},
		"cloud-init": {"cloud-init": {argv: dir + "/crawl.py", instance: box, versions: "v2 v2-token"}},
		"cgroups": {
			"curl in a container":        {argv: dir + "/curl -sf http://169.254.169.254/latest/meta-data/hostname", instance: box, agent: "curl/", place: "c0ffee", versions: "v1", v1: true, advice: "Rewrite"},
			"what ends in it at once":    {argv: dir + "/instant contained", instance: box, agent: "instant/1", place: "c0ffee", versions: "v1", v1: true, advice: "FindProgram"},
			"a loop of a unit every 5 s": {argv: dir + "/curl -s http://169.254.169.254/latest/meta-data/placement/region", instance: box, agent: "curl/", place: ".service", versions: "v1", v1: true, advice: "Rewrite"},
		},
	}
	for what, more := range further {
		if has[what] {
			maps.Copy(guests, more)
		}
	}
	return guests
}

// told is what one of the two says of a call or a caller.
type told struct {
	where, argv, agent, place, version string
	v1, forwarded                      bool
	advice                             []string
}

// Callers of all kinds at once on one host are each named rightly, and version 1 told apart from version 2, by
// "openimds trace" and by "openimds callers".
func TestCallersAreJudged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("guests of this host need root")
	}
	for _, program := range []string{"ip", "unshare", "curl", "python3"} {
		need(t, program)
	}
	stage := newStage(t)
	guests := judgedGuests(stage.dir, stage.has)
	for deadline := time.Now().Add(5 * patience); ; { // rounds of several seconds each
		stage.say("guests")
		var missing []string
		for range 10 { // that a token did not arrive is known two seconds later
			stage.say("look")
			all := append(stage.callers(), stage.traced()...)
			if missing = judge(t, guests, all); len(missing) == 0 {
				return
			}
			time.Sleep(500 * time.Millisecond)
		}
		// On a machine that is busy the kernel may tell of a call so late that nobody is named: who is not, calls again.
		if time.Now().After(deadline) {
			t.Fatalf("not told of: %s\n%s", strings.Join(missing, "; "), stage.said())
		}
		t.Logf("again, for %s", strings.Join(missing, "; "))
	}
}

// judge fails the test where something wrong is said of a guest, and returns what is not said so far.
func judge(t *testing.T, guests map[string]judged, all []told) (missing []string) {
	t.Helper()
	for name, g := range guests {
		versions, advice := map[string]bool{}, map[string]bool{}
		callers, v1, forwarded := 0, false, false
		for _, one := range all {
			if !strings.Contains(one.argv, g.argv) {
				continue
			}
			wrong := !strings.HasPrefix(one.agent, g.agent) && g.agent != "curl/" || !strings.Contains(one.place, g.place)
			if one.version != "" {
				versions[one.version] = true
				wrong = wrong || !slices.Contains(strings.Fields(g.versions), one.version)
				forwarded = forwarded || one.forwarded
			} else {
				callers++
				v1 = v1 || one.v1
				wrong = wrong || one.where != g.instance || one.v1 && !g.v1
				for _, code := range one.advice {
					advice[code] = true
				}
			}
			if wrong {
				t.Fatalf("%s: %+v", name, one)
			}
		}
		got := fmt.Sprintf("%s, %v, %s, %v", sorted(versions), v1, sorted(advice), forwarded)
		if want := fmt.Sprintf("%s, %v, %s, %v", g.versions, g.v1, g.advice, g.forwarded); callers == 0 || got != want {
			missing = append(missing, fmt.Sprintf("%s (%s, not %s)", name, got, want))
		}
	}
	slices.Sort(missing)
	return missing
}

func sorted(words map[string]bool) string { return strings.Join(slices.Sorted(maps.Keys(words)), " ") }

// stage is testdata/judged.sh, running.
type stage struct {
	t    *testing.T
	dir  string
	has  map[string]bool
	in   io.Writer
	says *bufio.Reader
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, dir: shortDir(t), has: map[string]bool{}}
	instant := filepath.Join(s.dir, "instant")
	if out, err := exec.Command("go", "build", "-o", instant, "./testdata/instant").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	client, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	npm := filepath.Join(here, "npm")
	script := exec.Command("unshare", "--mount", "--net", "sh", filepath.Join(here, "testdata", "judged.sh"), s.dir, client, instant, npm)
	boto, cloudInit := s.interpreter("botocore"), s.interpreter("cloudinit.sources.DataSourceEc2")
	script.Env = append(without(os.Environ(), "AWS_", "OPENIMDS_"), "BOTO="+boto, "CLOUD_INIT="+cloudInit, "CRAWL="+filepath.Join(here, "testdata", "crawl_metadata.py"),
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "BOTO_CONFIG="+os.DevNull, "AWS_METADATA_SERVICE_TIMEOUT=20")
	_, wget := exec.LookPath("wget")
	_, node := exec.LookPath("node")
	_, old := os.Stat(filepath.Join(npm, "node_modules", "aws-sdk-2015"))
	s.has["wget"], s.has["old SDK"], s.has["cloud-init"] = wget == nil, node == nil && old == nil, cloudInit != ""
	s.begin(script)
	return s
}

// shortDir is a directory whose name in a command line is not taken for a secret.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "judged")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// interpreter is a python that has a module; empty: there is none.
func (s *stage) interpreter(module string) string {
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		cmd := exec.Command(name, "-c", "import "+module+", sys; print(sys.executable)")
		cmd.Dir = s.dir
		if out, err := cmd.Output(); err == nil {
			return strings.TrimSpace(string(out)) // and not a script that finds one
		}
	}
	return ""
}

// begin runs the script until the test ends.
func (s *stage) begin(script *exec.Cmd) {
	s.t.Helper()
	in, err := script.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := script.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := script.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.in, s.says = in, bufio.NewReader(out)
	s.t.Cleanup(func() {
		_ = in.Close()
		if err := script.Wait(); err != nil {
			s.t.Errorf("%v\n%s", err, s.said())
		}
	})
	for word := ""; word != "ready"; {
		if word = s.hear(); word == "cgroups" {
			s.has["cgroups"] = true
		}
	}
}

// hear is the script's next word.
func (s *stage) hear() string {
	s.t.Helper()
	line, err := s.says.ReadString('\n')
	if err != nil {
		s.t.Fatalf("the script has ended: %v\n%s", err, s.said())
	}
	return strings.TrimSpace(line)
}

func (s *stage) say(word string) {
	s.t.Helper()
	_, _ = io.WriteString(s.in, word+"\n")
	s.hear()
}

// said is the end of what the script and its programs have said.
func (s *stage) said() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "out"))
	return string(text[max(len(text)-4000, 0):])
}

// callers are those that "openimds callers" tells the processes of.
func (s *stage) callers() (all []told) {
	text, err := os.ReadFile(filepath.Join(s.dir, "callers.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	var shown []struct {
		InstanceName, UserAgent string
		Counts                  map[string]int
		Advice                  []struct{ Code string }
		Process                 *struct {
			Arguments       []string
			Unit, Container string
		}
	}
	if err := json.Unmarshal(text, &shown); err != nil {
		s.t.Fatalf("%v: %s", err, text)
	}
	for _, c := range shown {
		if c.Process == nil {
			continue
		}
		one := told{where: c.InstanceName, argv: strings.Join(c.Process.Arguments, " "), agent: c.UserAgent, place: c.Process.Unit + " " + c.Process.Container,
			v1: c.Counts["MetadataNoToken"] > 0}
		for _, a := range c.Advice {
			one.advice = append(one.advice, a.Code)
		}
		all = append(all, one)
	}
	return all
}

// traced are the calls of processes that "openimds trace" has told of.
func (s *stage) traced() (all []told) {
	text, err := os.ReadFile(filepath.Join(s.dir, "trace.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var c struct {
			Service, Version, UserAgent string
			Forwarded                   bool
			Process                     struct {
				Argv      []string
				Unit      string
				Container struct{ ID string }
			}
		}
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // the rest of it is to come
		}
		if err := json.Unmarshal(line, &c); err != nil {
			s.t.Fatalf("%v: %s", err, line)
		}
		if c.Service == "imds" && c.Version != "unknown" {
			all = append(all, told{argv: strings.Join(c.Process.Argv, " "), agent: c.UserAgent, place: c.Process.Unit + " " + c.Process.Container.ID, version: c.Version, forwarded: c.Forwarded})
		}
	}
	return all
}
