package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/spf13/cobra"
)

// hostile is what somebody might call a thing to have a terminal do their will: C0, C1, DEL, characters
// that turn or hide what is read, and a line end with a line behind it that would be believed.
const hostile = "a\x1b[2J\x07\u009b31m\u009d0;x\x7f\u202egnp.exe\u2066\u200b\u2028\u0085\r\nFORGED\tall is well\U000e0041z"

// harmless fails the test if a text moves a terminal's cursor, hides something, or has a line that
// somebody else wrote.
func harmless(t *testing.T, what, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && r != '\t' && r != ' ' && !unicode.IsPrint(r) {
			t.Errorf("%s prints %U: %q", what, r, text)
			return
		}
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "FORGED") {
			t.Errorf("%s prints a line of somebody else's: %q", what, text)
		}
	}
}

// hostileAPI is a control API that answers every operation with hostile texts, or with a hostile error.
func hostileAPI(t *testing.T, refuses bool) string {
	thing := map[string]any{
		"name": hostile, "state": map[string]string{"name": hostile}, "blueprintId": hostile, "bundleId": hostile,
		"privateIpAddress": hostile, "publicIpAddress": hostile, "ipv6Addresses": []string{hostile},
		"metadataOptions": map[string]any{"state": hostile, "httpTokens": hostile, "httpEndpoint": hostile, "httpProtocolIpv6": hostile},
		"tags":            []map[string]string{{"key": hostile, "value": hostile}}, hostile: hostile,
	}
	operation := map[string]any{"operationType": hostile, "resourceName": hostile, "status": hostile, "operationDetails": hostile, "isTerminal": true}
	attachment := map[string]any{"instanceName": hostile, "interface": hostile, "sources": []string{hostile}, "networkNamespace": hostile, "state": hostile, "reason": hostile}
	bridged := map[string]any{"instanceName": hostile, "interface": hostile, "sources": []string{hostile}, "state": hostile, "reason": hostile}
	caller := map[string]any{
		"instanceName": hostile, "source": hostile, "userAgent": hostile, "pathGroup": hostile, "counts": map[string]int{hostile: 1},
		"tokenUndelivered": map[string]any{"time": 1e9, "hopLimit": 1, "neededHopLimit": 2, "currentHopLimit": 1},
		"agent":            map[string]any{"tool": hostile, "version": hostile}, "period": map[string]any{"kind": hostile, "text": hostile},
		"process": map[string]any{"executable": hostile, "arguments": []string{hostile}, "user": hostile, "unit": hostile, "container": hostile, "package": hostile},
		"advice":  []any{map[string]any{"code": hostile, "text": hostile}},
	}
	answer := map[string]any{
		"instance": thing, "instances": []any{thing}, "operation": operation, "operations": []any{operation},
		"alarms": []any{map[string]any{"name": hostile, "state": hostile, "metricName": hostile, "monitoredResourceInfo": map[string]string{"name": hostile},
			"comparisonOperator": hostile, "treatMissingData": hostile, "notificationEnabled": true, "notificationTriggers": []string{hostile}}},
		"counts":      []any{map[string]any{"instanceName": hostile, "known": map[string]any{"instanceName": hostile}}},
		"attachments": []any{attachment, bridged}, "callers": []any{caller}, "nextPageToken": "", "token": hostile,
		"places": []any{map[string]any{"interface": hostile}, map[string]any{"networkNamespace": hostile}},
		"hosts":  []any{map[string]any{"name": hostile, "state": "there", "version": hostile, "reason": hostile}},
		"host":   map[string]any{"name": hostile, "state": "there", "version": hostile, "reason": hostile}, "invitation": map[string]any{"host": hostile, "token": hostile, "replicas": []string{hostile}},
		"rehearsals": []any{map[string]any{"instanceName": hostile, "rehearsal": map[string]any{"mode": hostile, "until": "2026-01-01T00:00:00Z"}}},
		"faults":     []any{map[string]any{"instanceName": hostile, "faults": map[string]any{"on": hostile, "status": 500, "statusShare": 1}}},
	}
	record := map[string]any{
		"name": hostile, "state": hostile, "id": hostile, "imageId": hostile, "zone": hostile, "instanceType": hostile, "role": map[string]string{"name": hostile},
		"placementGroup": hostile, "ancestorAmiIds": []string{hostile}, "overlay": map[string]any{hostile: hostile, "b" + hostile: nil},
		"nics": []any{map[string]string{"localHostname": hostile, "mac": hostile}}, "hidden": []string{hostile}, "recording": map[string]string{"source": hostile, "recordedAt": hostile},
		"events": map[string]any{"lifecycleState": hostile, "spot": map[string]string{"action": hostile}, "maintenance": []any{map[string]string{"id": hostile, "code": hostile, "description": hostile}}},
	}
	status := http.StatusOK
	if refuses {
		status, answer = http.StatusBadRequest, map[string]any{"__type": hostile, "message": hostile}
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		if r.Header.Get("X-Amz-Target") == wire.DescribeInstance.Name && !refuses {
			_ = json.NewEncoder(w).Encode(map[string]any{"instance": record})
			return
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(api.Close)
	return api.URL
}

// hostileService is a metadata service that answers with hostile texts.
func hostileService(t *testing.T) string {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/latest/api/token":
			_, _ = w.Write([]byte("token"))
		case "/", "/latest", "/latest/":
			_, _ = w.Write([]byte("latest\nmeta-data/\n\u009b31m\u202e\n"))
		case "/latest/meta-data", "/latest/meta-data/":
			_, _ = w.Write([]byte("ami-id\n\u009b31m\u202e\nabsent\u202e/"))
		default:
			_, _ = w.Write([]byte(hostile))
		}
	}))
	t.Cleanup(service.Close)
	return service.URL
}

// leaves are the commands that do something, by their path below the program's name.
func leaves(cmd *cobra.Command) []string {
	var all []string
	for _, sub := range cmd.Commands() {
		if sub.HasSubCommands() {
			all = append(all, leaves(sub)...)
		} else {
			_, path, _ := strings.Cut(sub.CommandPath(), " ")
			all = append(all, path)
		}
	}
	return all
}

// TestHostileTexts runs every command that prints, with hostile texts wherever it takes one, as tables
// and as JSON, when all goes well and when it is refused. A new command has to find its place here.
func TestHostileTexts(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("skipped: Windows has no such file names")
	}
	dir := t.TempDir()
	bad := filepath.Join(dir, hostile) // a file of that name
	good := filepath.Join(dir, "timeline")
	data := filepath.Join(dir, "d\u009b31m\u202e")
	for _, file := range []string{bad, good} {
		if err := os.WriteFile(file, []byte("instances: [demo]\ntimeline:\n  - at: 0s\n    rebalance:\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "AKIDEXAMPLE")
	}
	hostileLog := filepath.Join(dir, "log")
	entry, err := json.Marshal(map[string]any{"who": hostile, "what": hostile, "resource": hostile, "source": hostile, "failure": hostile})
	if err == nil {
		err = os.WriteFile(hostileLog, append(entry, '\n'), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	service := hostileService(t)
	rows := map[string][][]string{
		"alarm delete":            {{hostile}},
		"alarm list":              {{}, {hostile, "--instance", hostile}},
		"alarm put":               {{hostile}, {hostile, "--instance", hostile, "--metric", hostile}},
		"alarm test":              {{hostile, hostile}},
		"attach":                  {{}, {hostile, "--interface", hostile}, {hostile, "--pid", hostile}},
		"audit":                   {{"--data-dir", data}, {"--file", bad}, {"--file", hostileLog}},
		"backup":                  {{hostile, "--data-dir", data}, {filepath.Join(dir, "b"), "--data-dir", bad}},
		"callers":                 {{}, {hostile, "--v1"}, {"--by", "process"}, {"--by", "agent"}},
		"compact":                 {{"--data-dir", bad}, {"--data-dir", data}, {hostile}},
		"defaults":                {{}, {"--http-tokens", hostile}},
		"detach":                  {{hostile}},
		"env":                     {{"--data-dir", bad}, {"--region", hostile}, {"--config", bad}, {"--config", good}},
		"event clear":             {{hostile}, {"demo", "--kind", hostile}},
		"event lifecycle":         {{hostile, hostile}},
		"event maintenance":       {{hostile, "--description", hostile}},
		"event play":              {{bad}, {good}, {bad + hostile}},
		"event rebalance":         {{hostile}},
		"event spot":              {{hostile, "--action", hostile}},
		"faults":                  {{"demo"}, {hostile, "--status", "500"}, {hostile, "--on", hostile}},
		"host drain":              {{hostile}},
		"host enroll":             {{hostile}, {hostile, "--within", hostile}},
		"host evict":              {{hostile}, {hostile, "--yes"}},
		"host list":               {{}, {hostile}},
		"host show":               {{hostile}},
		"host undrain":            {{hostile}},
		"identity certificates":   {{"--data-dir", bad}, {"--out", bad}},
		"identity import":         {{bad}, {bad, "--form", hostile}},
		"identity rotate":         {{"--data-dir", data, "--in", hostile}, {"--form", hostile}},
		"import aemm":             {{bad, "demo"}, {good, hostile}},
		"import dump":             {{bad, "--instance", hostile}, {service, "--instance", hostile}, {service, hostile}},
		"instance create":         {{hostile, "--tag", hostile}, {hostile, "--user-data", bad}, {hostile, "--user-data", bad + "x"}},
		"instance delete":         {{hostile}},
		"instance list":           {{}},
		"instance reboot":         {{hostile}},
		"instance set":            {{hostile, "--hostname", hostile}, {hostile, "--user-data", bad + "x"}},
		"instance show":           {{hostile}},
		"instance start":          {{hostile}},
		"instance stop":           {{hostile}},
		"keys create":             {{hostile, "--data-dir", data}, {"ok", "--data-dir", data}},
		"keys credential-process": {{hostile, "--data-dir", data}, {"--data-dir", bad}},
		"keys list":               {{"--data-dir", data}},
		"keys revoke":             {{hostile, "--data-dir", data}, {"ok", "--data-dir", data}},
		"migrate key":             {{}},
		"migrate report":          {{}, {hostile}, {"--out", filepath.Join(bad, hostile+".html")}, {"--out", hostile}, {"--plan", bad}, {"-o", "json"}},
		"migrate verify":          {{bad}, {bad, "--key", hostile}, {bad + "x"}},
		"migrate rehearse":        {{hostile}, {hostile, "--shadow"}, {hostile, "--stop"}, {hostile, "--brown-out", "--yes"}, {"demo", "--provider", hostile}, {"--plan", bad, "--wave", hostile}},
		"migrate apply":           {{bad}, {bad + "x"}, {good, "--provider", hostile}},
		"migrate enforce":         {{hostile}, {"--provider", hostile}},
		"migrate plan":            {{}, {"--canary", hostile}, {"--wave", hostile}},
		"migrate policy":          {{}, {hostile}},
		"migrate resume":          {{bad}, {good, "--journal", bad}},
		"migrate status":          {{}, {hostile}, {"--provider", "lightsail"}},
		"migrate undo":            {{bad}, {good, "--journal", bad}},
		"metrics":                 {{}, {hostile}, {hostile, "--metric", hostile}},
		"operations":              {{}, {hostile}},
		"console":                 {{}, {hostile}, {"--no-open", "-o", "json"}},
		"options":                 {{hostile}, {hostile, "--http-tokens", hostile}},
		"record":                  {{service}, {hostile}, {service, "-o", filepath.Join(bad, hostile)}},
		"release":                 {{}, {hostile}, {"--all", hostile}},
		"restore":                 {{bad, "--data-dir", data}, {bad + "x"}, {good, "--data-dir", bad}},
		"run":                     {{hostile}, {"--report-file", bad + "/x", "true"}, {"--profile", hostile, "--network", hostile, "true"}},
		"agent":                   {{hostile}, {"--join", bad}, {"--config", bad}, {"--data-dir", bad}, {"--log-level", hostile}, {"--data-dir", data, "--replica", hostile}},
		"serve":                   {{hostile}, {"--config", bad}, {"--replay", bad}, {"--data-dir", bad}, {"--log-level", hostile}, {"--api-listen", hostile}},
		"store copy":              {{"--from", bad, "--to", bad + "x"}, {"--from", hostile, "--to", hostile}, {hostile}},
		"trace":                   {{hostile}, {"--prometheus", hostile}, {"--prometheus", hostile + ":80"}, {"--for", "1ms", "--summary"}},
	}
	rows["keys credential-process"] = [][]string{{"--data-dir", data}, {hostile, "--data-dir", data}}
	rows["ssh-key push"] = [][]string{{hostile, "--user", hostile, "--key", bad}, {hostile, "--user", "u", "--key", good}, {"demo", "--user", "u", "--key", bad + "x"}}
	rows["ssh-key signer"] = [][]string{{"--data-dir", data}, {"--data-dir", bad}}
	for _, path := range append(leaves(newRoot()), hostile) {
		first, _, _ := strings.Cut(path, " ")
		if first == "completion" || first == "help" || path == hostile {
			continue
		}
		if rows[path] == nil {
			t.Errorf("%s has no row here: say what of others' texts it prints", path)
		}
	}
	rows[hostile] = [][]string{{}}
	for _, refuses := range []bool{false, true} {
		t.Setenv("AWS_ENDPOINT_URL_LIGHTSAIL", hostileAPI(t, refuses))
		for path, calls := range rows {
			words := strings.Fields(path)
			if path == hostile {
				words = []string{hostile}
			}
			for _, call := range calls {
				for _, output := range []string{"table", "json"} {
					args := append(append([]string{}, words...), call...)
					if output == "json" && path != "record" {
						args = append(args, "-o", "json") // where there is no such flag, the refusal is printed
					}
					var out, errs bytes.Buffer
					run(t.Context(), args, &out, &errs)
					if out.Len()+errs.Len() == 0 {
						t.Errorf("%q prints nothing", args)
					}
					harmless(t, path, out.String())
					harmless(t, path, errs.String())
				}
			}
		}
	}
}

// TestHostileJSON: what scripts read is what the server said, however it is spelt.
func TestHostileJSON(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL_LIGHTSAIL", hostileAPI(t, false))
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"instance", "show", "demo", "-o", "json"}, &out, &errs); code != exitDone {
		t.Fatalf("code %d: %s", code, errs.String())
	}
	var in struct{ Name string }
	if err := json.Unmarshal(out.Bytes(), &in); err != nil || in.Name != hostile {
		t.Errorf("the name is %q, %v", in.Name, err)
	}
}
