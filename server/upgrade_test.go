package server

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/lightsail"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/guestside"
	"github.com/openimds/openimds/identity"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/recording"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store/bolt"
	"github.com/openimds/openimds/usage"
	"github.com/openimds/openimds/usage/history"
)

// makeDataDir, if set, is the archive that TestUpgrade makes of this very release, for the next ones.
const makeDataDir = "OPENIMDS_MAKE_DATADIR"

// snapshot is what a release said of its data directory.
type snapshot struct {
	Made    time.Time
	Tokens  map[string]string // a session token of each instance that had one
	Answers map[string]json.RawMessage
}

// ends matches what a server that runs in earnest, years later, may have forgotten or decided anew.
var ends = regexp.MustCompile("GetOperations|GetCallers|GetMetadataCounts|GetAlarms")

// decidedSince are categories that mean something else since the first archive was made, and why.
var decidedSince = map[string]string{
	"meta-data/instance-life-cycle": "an instance whose interruption is announced is a spot instance",
}

// TestUpgrade opens data directories that earlier releases left: all that was there is there, to the
// operator and to the guests; keys sign, sessions open; and what is changed from now on stays.
func TestUpgrade(t *testing.T) {
	if archive := os.Getenv(makeDataDir); archive != "" {
		makeDataDirectory(t, archive)
		return
	}
	archives, err := filepath.Glob(filepath.Join("testdata", "datadir", "*.tar.gz"))
	if err != nil || len(archives) == 0 {
		t.Fatal("no data directory of an earlier release", err)
	}
	for _, archive := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(archive), ".tar.gz"), func(t *testing.T) {
			home := t.TempDir()
			unpack(t, archive, home)
			var was snapshot
			text, err := os.ReadFile(filepath.Join(home, "snapshot.json"))
			must(t, err)
			must(t, json.Unmarshal(text, &was))
			dir := filepath.Join(home, "data")
			for _, served := range []bool{false, true} { // what a start moves must still be there
				is := look(t, dir, was)
				for name, answer := range was.Answers {
					if served && ends.MatchString(name) {
						continue
					}
					var want, got any
					must(t, json.Unmarshal(answer, &want))
					must(t, json.Unmarshal(is[name], &got))
					if lost := missing(want, got); lost != "" {
						t.Errorf("%s%s", name, lost)
					}
				}
				i := openInstallation(t, forTest(dir))
				var all struct{ Instances []struct{ Name string } }
				must(t, i.client.call(t.Context(), targetLightsail+"GetInstances", struct{}{}, &all))
				if len(all.Instances) < 4 {
					t.Errorf("served are %v", all.Instances)
				}
				i.stop()
			}
		})
	}
}

// missing says where got has not what want has; what it has beside that is newer.
func missing(want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf(": %v, was %v", got, want)
		}
		for key, value := range want {
			if _, below, _ := strings.Cut(key, "/"); decidedSince[below] != "" {
				continue
			}
			if _, told := object[key]; key == "value" && value == "" && !told {
				continue // of a tag that was given by its key alone: now it is left out
			}
			if lost := missing(value, object[key]); lost != "" {
				return "." + key + lost
			}
		}
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return fmt.Sprintf(": %v, was %v", got, want)
		}
		for i, value := range want {
			if lost := missing(value, list[i]); lost != "" {
				return fmt.Sprintf("[%d]%s", i, lost)
			}
		}
	default:
		if !reflect.DeepEqual(want, got) {
			return fmt.Sprintf(": %v, was %v", got, want)
		}
	}
	return ""
}

// look asks the data directory for all that it keeps, on a clock that stands a minute after it was made:
// by the operator's side, signed with the installation's own key, and as the guests.
func look(t *testing.T, dir string, was snapshot) map[string]json.RawMessage {
	t.Helper()
	now := func() time.Time { return was.Made.Add(time.Minute) }
	store, err := bolt.Open(filepath.Join(dir, StoreFile))
	must(t, err)
	defer func() { must(t, store.Close()) }()
	must(t, records.Upgrade(t.Context(), store, openimds.LocalHost))
	recorder := usage.NewMeter(usage.Config{Store: store, Now: now, History: history.New(history.Config{Store: store, Now: now})})
	service := control.New(store, control.Config{
		Region: "us-east-1", AccountID: "123456789012", AllowIMDSIPv6: true,
		History: recorder, Callers: recorder, Attachments: unattached{}, Now: now,
	})
	_, err = service.JoinHost(t.Context(), true)
	must(t, err)
	keys, err := accesskeys.Ensure(filepath.Join(dir, CredentialsFile))
	must(t, err)
	verifier := sigv4.New(sigv4.Config{Regions: []string{"us-east-1"}, Keys: keys.Lookup})
	served := httptest.NewServer(api.New(api.Config{
		Protocols: []api.Protocol{lightsail.New(lightsail.Config{Service: service, Now: now})}, Auth: verifier, Now: now,
	}))
	defer served.Close()
	client := newOperator(t, served.URL, dir)
	answers := map[string]json.RawMessage{}
	ask := func(target, body string) json.RawMessage {
		var answer json.RawMessage
		if err := client.call(t.Context(), target, json.RawMessage(body), &answer); err != nil {
			t.Errorf("%s %s: %v", target, body, err)
		}
		answers[target+" "+body] = answer
		return answer
	}
	for _, name := range []string{"GetInstances", "GetKeyPairs", "GetStaticIps", "GetAlarms", "GetOperations", "GetActiveNames"} {
		ask(targetLightsail+name, `{}`)
	}
	for _, name := range []string{"GetAttachments", "GetMetadataCounts", "GetCallers"} {
		ask(targetOpenIMDS+name, `{}`)
	}
	side := guestside.New(guestside.Config{Store: store, Marker: service, IMDS: imds.Config{Now: now}})
	defer func() { must(t, side.Shutdown(context.Background())) }()
	var all struct {
		Instances []struct {
			Name  string
			State struct{ Name string }
		}
	}
	must(t, json.Unmarshal(answers[targetLightsail+"GetInstances {}"], &all))
	for _, in := range all.Instances {
		ask(targetLightsail+"GetInstancePortStates", `{"instanceName":"`+in.Name+`"}`)
		ask(targetLightsail+"GetOperationsForResource", `{"resourceName":"`+in.Name+`"}`)
		ask(targetOpenIMDS+"DescribeInstance", `{"instanceName":"`+in.Name+`","includeUserData":true}`)
		if in.State.Name == "running" {
			answers["guest "+in.Name] = lookAsGuest(t, side, in.Name, was.Tokens[in.Name], now)
		}
	}
	signing, err := identity.Load(filepath.Join(dir, IdentityDir))
	must(t, err)
	for _, form := range identity.Forms() {
		key, ok := signing.Signing(form, now())
		if !ok {
			t.Errorf("no key signs in the form %s", form)
		} else {
			answers["certificate "+form.String()], err = json.Marshal(key.Certificate.Raw)
			must(t, err)
		}
	}
	return answers
}

// unattached is a host that attaches nothing.
type unattached struct{}

func (unattached) Guarded() []openimds.GuardedPlace { return nil }

func (unattached) Release([]string) ([]openimds.GuardedPlace, error) { return nil, nil }

func (unattached) Status(string, time.Time) (openimds.AttachmentStatus, bool) {
	return openimds.AttachmentStatus{}, false
}

// lookAsGuest crawls what an instance's guest reads, and tries its token.
func lookAsGuest(t *testing.T, side *guestside.Server, name, token string, now func() time.Time) json.RawMessage {
	t.Helper()
	must(t, side.Seat(t.Context(), name))
	l, err := imds.Listen(t.Context(), "127.0.0.1:0")
	must(t, err)
	go func() { _ = side.Serve(l[0], name) }()
	url := "http://" + l[0].Addr().String()
	if token != "" {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/latest/meta-data/instance-id", nil)
		must(t, err)
		r.Header.Set("X-Aws-Ec2-Metadata-Token", token)
		answer, err := http.DefaultClient.Do(r)
		must(t, err)
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%s: a session from before opens no more: %s", name, answer.Status)
		}
	}
	tree, _, err := recording.Crawl(t.Context(), recording.Config{URL: url, UserData: true, Rate: 1000, Now: now})
	if err != nil { // an endpoint that is off, or fails on purpose
		return json.RawMessage(`"closed"`)
	}
	items := map[string]string{}
	for _, it := range tree.Items {
		items[it.Path] = string(it.Body)
	}
	text, err := json.Marshal(items)
	must(t, err)
	return text
}

// makeDataDirectory serves a new data directory, has it hold one of everything, and packs it.
func makeDataDirectory(t *testing.T, archive string) {
	home := t.TempDir()
	dir := filepath.Join(home, "data")
	i := openInstallation(t, forTest(dir))
	for _, change := range everythingKept {
		target, body, _ := strings.Cut(change, " ")
		if err := i.client.call(t.Context(), target, json.RawMessage(body), nil); err != nil {
			t.Fatalf("%s: %v", change, err)
		}
	}
	was := snapshot{Tokens: map[string]string{"demo": i.token(t)}}
	for range 5 {
		i.get(t, "")
		i.get(t, was.Tokens["demo"])
	}
	must(t, i.client.call(t.Context(), targetLightsail+"UpdateInstanceMetadataOptions", json.RawMessage(`{"instanceName":"demo","httpTokens":"required","httpPutResponseHopLimit":2}`), nil))
	must(t, eventually(func() bool { return i.get(t, "") == http.StatusUnauthorized }))
	i.stop()
	attachNowhere(t, dir)
	was.Made = time.Now().UTC().Truncate(time.Second)
	was.Answers = look(t, dir, was)
	text, err := json.MarshalIndent(was, "", " ")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(home, "snapshot.json"), text, 0o600))
	pack(t, archive, home)
}

// attachNowhere makes an attachment to what is on no machine.
func attachNowhere(t *testing.T, dir string) {
	store, err := bolt.Open(filepath.Join(dir, StoreFile))
	must(t, err)
	service := control.New(store, control.Config{Region: "us-east-1", AccountID: "123456789012", Attachments: unattached{}})
	_, err = service.AttachInstance(t.Context(), openimds.Attachment{Instance: "web-1", Interface: "vnetold0"})
	must(t, errors.Join(err, store.Close()))
}

// everythingKept makes one of everything that a store keeps.
var everythingKept = []string{
	targetLightsail + `ImportKeyPair {"keyPairName":"mine","publicKeyBase64":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ+1P0dyDrHSlHxPCsQWKjCqXgcUJ8HOQ1wLvS0B3c6p me@here"}`,
	targetLightsail + `CreateKeyPair {"keyPairName":"made"}`,
	targetLightsail + `DownloadDefaultKeyPair {}`,
	targetLightsail + `CreateInstances {"instanceNames":["web-1","web-2","web-3"],"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_3_0","keyPairName":"mine","userData":"#!/bin/sh\necho \u00fc","tags":[{"key":"tier","value":"web"}]}`,
	targetLightsail + `CreateInstances {"instanceNames":["replayed"],"availabilityZone":"us-east-1b","blueprintId":"debian_12","bundleId":"nano_3_0"}`,
	targetLightsail + `UpdateInstanceMetadataOptions {"instanceName":"web-1","httpTokens":"required","httpPutResponseHopLimit":3,"httpProtocolIpv6":"enabled"}`,
	targetLightsail + `UpdateInstanceMetadataOptions {"instanceName":"web-2","httpEndpoint":"disabled"}`,
	targetOpenIMDS + `SetInstance {"instanceName":"demo","roleName":"app","tagsInMetadata":true,"userData":"AAEC/w==","hostname":"demo.example","ownerId":"000029643808","overlay":{"meta-data/ami-id":"ami-overlaid","meta-data/hibernation":null}}`,
	targetOpenIMDS + `SetInstance {"instanceName":"replayed","recording":{"source":"http://there","recordedAt":1767323045,"items":[` +
		`{"path":"","listing":true,"contentType":"text/plain","modified":1767323045,"body":"bGF0ZXN0"},{"path":"latest","listing":true,"contentType":"text/plain","body":"eA=="},` +
		`{"path":"latest/x","contentType":"text/plain","body":"aGk="},{"path":"latest/user-data","state":"withheld"}]}}`,
	targetLightsail + `TagResource {"resourceName":"demo","tags":[{"key":"Name","value":"the demo"},{"key":"empty"}]}`,
	targetLightsail + `PutInstancePublicPorts {"instanceName":"demo","portInfos":[{"fromPort":443,"toPort":443,"protocol":"tcp"}]}`,
	targetLightsail + `AllocateStaticIp {"staticIpName":"front"}`,
	targetLightsail + `AllocateStaticIp {"staticIpName":"spare"}`,
	targetLightsail + `AttachStaticIp {"staticIpName":"front","instanceName":"demo"}`,
	targetLightsail + `PutAlarm {"alarmName":"load","metricName":"StatusCheckFailed","monitoredResourceName":"demo","comparisonOperator":"GreaterThanThreshold","threshold":0.5,"evaluationPeriods":1,"notificationEnabled":false}`,
	targetOpenIMDS + `UpdateInstanceEvents {"instanceName":"demo","spot":{"action":"stop","time":4102488000},"rebalance":{"noticeTime":4102488000},"lifecycleState":"Terminated","maintenance":{"code":"system-reboot","notBefore":4102488000,"notAfter":4102491600,"eventId":"instance-event-0123456789abcdef0"}}`,
	targetOpenIMDS + `UpdateInstanceFaults {"instanceName":"web-3","latencyMillis":1,"statusShare":1,"status":503}`,
	targetLightsail + `StopInstance {"instanceName":"web-3"}`,
}

// token asks for a session of the longest time.
func (i *installation) token(t *testing.T) string {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+i.imds+"/latest/api/token", nil)
	must(t, err)
	r.Header.Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	defer func() { _ = answer.Body.Close() }()
	token, err := io.ReadAll(answer.Body)
	must(t, err)
	return string(token)
}

// get asks with that token, or without.
func (i *installation) get(t *testing.T, token string) int {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+i.imds+"/latest/meta-data/instance-id", nil)
	must(t, err)
	r.Header.Set("User-Agent", "old-software/1.0")
	if token != "" {
		r.Header.Set("X-Aws-Ec2-Metadata-Token", token)
	}
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	must(t, answer.Body.Close())
	return answer.StatusCode
}

// pack puts a directory's files into an archive, with modes but without names of users.
func pack(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Create(archive)
	must(t, err)
	zipped := gzip.NewWriter(f)
	out := tar.NewWriter(zipped)
	must(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		name, _ := filepath.Rel(dir, path)
		if err != nil || info.IsDir() || !info.Mode().IsRegular() || strings.HasSuffix(name, ".reserve") {
			return err // a reserve is nothing but room
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: filepath.ToSlash(name), Mode: int64(info.Mode().Perm()), Size: int64(len(content))}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		_, err = out.Write(content)
		return err
	}))
	must(t, errors.Join(out.Close(), zipped.Close(), f.Close()))
}

func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	must(t, err)
	defer func() { _ = f.Close() }()
	zipped, err := gzip.NewReader(f)
	must(t, err)
	for in := tar.NewReader(zipped); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		must(t, err)
		path := filepath.Join(dir, filepath.FromSlash(header.Name))
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		content, err := io.ReadAll(in)
		must(t, err)
		must(t, os.WriteFile(path, content, os.FileMode(header.Mode)))
	}
}
