package credentials

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/openimds/openimds"
)

// canary is in everything that a source says, and must be in nothing that this package says.
const canary = "CANARYwJalrXUtnFEMI"

const goodDocument = `{"Version":1,"AccessKeyId":"AKIA` + canary + `","SecretAccessKey":"` + canary + `","SessionToken":"` + canary + `"}`

// outputs are programs of which none gives credentials, or not without trouble.
var outputs = map[string]string{
	"text before":        "echo " + canary + "; echo '" + goodDocument + "'",
	"text behind":        "echo '" + goodDocument + "'; echo " + canary,
	"two documents":      "echo '" + goodDocument + goodDocument + "'",
	"a list":             "echo '[" + goodDocument + "]'",
	"a string":           `echo '"` + canary + `"'`,
	"wrong shape":        "echo '{\"Credentials\":" + goodDocument + "}'",
	"wrong type":         `echo '{"Version":1,"AccessKeyId":"A","SecretAccessKey":{"` + canary + `":1}}'`,
	"wrong type of time": `echo '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"` + canary + `","Expiration":"` + canary + `"}'`,
	"number for time":    `echo '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"` + canary + `","Expiration":12}'`,
	"a key twice":        `echo '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"` + canary + `","SecretAccessKey":"x"}'`,
	"wrong version":      `echo '{"Version":"` + canary + `","AccessKeyId":"A","SecretAccessKey":"` + canary + `"}'`,
	"version 2":          `echo '{"Version":2,"AccessKeyId":"A","SecretAccessKey":"` + canary + `"}'`,
	"no secret":          `echo '{"Version":1,"AccessKeyId":"` + canary + `"}'`,
	"empty secret":       `echo '{"Version":1,"AccessKeyId":"` + canary + `","SecretAccessKey":""}'`,
	"odd secret":         `printf '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"` + canary + `\\n"}'`,
	"odd key":            `echo '{"Version":1,"AccessKeyId":"A","` + canary + `":` + canary + `}'`,
	"cut":                `printf '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"` + canary + `'`,
	"binary":             `printf '\000\377\376` + canary + `'`,
	"nothing":            `echo ` + canary + ` >&2`,
	"exit code":          `echo ` + canary + ` >&2; echo '` + goodDocument + `'; exit 3`,
	"a signal":           `echo ` + canary + ` >&2; kill -TERM $$`,
	"no such program":    `/no/such/` + canary,
	"expired":            `echo '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"` + canary + `","SessionToken":"t","Expiration":"2020-01-01T00:00:00Z"}'`,
	"300 MB":             `yes ` + canary + ` | head -c 300000000`,
	"300 MB of trouble":  `yes ` + canary + ` | head -c 300000000 >&2; exit 1`,
}

// told collects what is logged, at the finest level.
type told struct {
	mu sync.Mutex
	bytes.Buffer
}

func (w *told) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Buffer.Write(p)
}

func (w *told) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Buffer.String()
}

// silent fetches from a source once, and fails the test if the canary is in the log, in an error, in what
// the guest is told or on standard error. It returns the error.
func silent(t *testing.T, spec string) error {
	t.Helper()
	source, err := ParseSource(spec)
	if err != nil {
		t.Fatal(err)
	}
	standardError := os.Stderr
	captured, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	os.Stderr = captured
	var log told
	s := NewSources(map[string]*Source{AnyRole: source}, slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	in := withRole("web-1", "app")
	s.Keep(in)
	ctx, done := context.WithTimeout(t.Context(), 2*time.Minute)
	defer done()
	err = s.Ready(ctx, in)
	given := s.Credentials(in, openimds.RoleForV2, time.Now())
	s.Close()
	os.Stderr = standardError
	if err == nil {
		t.Errorf("no error; the guest has %s", given.Code)
		return nil
	}
	if given.Code == openimds.CredentialsSuccess || len(given.SecretAccessKey)+len(given.Token) > 0 {
		t.Errorf("the guest has %v", given)
	}
	document, jerr := json.Marshal(given)
	complaints, rerr := os.ReadFile(captured.Name())
	if jerr != nil || rerr != nil {
		t.Fatal(jerr, rerr)
	}
	for where, text := range map[string]string{
		"log": log.String(), "error": err.Error(), "wrapped": fmt.Sprintf("%+v %#v", err, err),
		"guest's answer": string(document), "standard error": string(complaints),
	} {
		if strings.Contains(text, canary) || strings.Contains(text, "ANARY") {
			t.Errorf("%s: the canary is in the %.2000s", where, text)
		}
	}
	if strings.Contains(err.Error(), "\n") || len(err.Error()) > 400 {
		t.Errorf("not one short line: %q", err)
	}
	t.Log(err)
	return err
}

func needShell(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the programs are of sh")
	}
}

// noAWS empties the environment of what AWS's tools read.
func noAWS(t *testing.T) (dir string) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	dir = t.TempDir()
	t.Setenv("HOME", dir)
	for _, service := range []string{"", "_STS", "_SSO", "_SSO_OIDC"} { // nothing leaves this machine
		t.Setenv("AWS_ENDPOINT_URL"+service, "http://127.0.0.1:1")
	}
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "credentials"))
	return dir
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCanaryOfPrograms: by process:, by a profile's credential_process, and by the profile whose
// credentials another one assumes a role with, or a source assume-role: does.
func TestCanaryOfPrograms(t *testing.T) {
	needShell(t)
	for name, script := range outputs {
		t.Run(name, func(t *testing.T) {
			dir := noAWS(t)
			writeFile(t, filepath.Join(dir, "script"), script)
			command := "sh " + filepath.Join(dir, "script")
			writeFile(t, filepath.Join(dir, "config"), "[profile p]\ncredential_process = "+command+"\n"+
				"[profile r]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = p\nregion = us-east-1\n"+
				"[default]\ncredential_process = "+command+"\n")
			for _, spec := range []string{
				"process:" + command, "profile:p", "profile:r",
				"assume-role:arn:aws:iam::123456789012:role/y?endpoint=http://127.0.0.1:1",
				"assume-role:arn:aws:iam::123456789012:role/y?profile=p&endpoint=http://127.0.0.1:1",
			} {
				if name == "300 MB of trouble" && spec != "process:"+command && spec != "profile:p" {
					continue // it takes a while
				}
				t.Run(spec[:9], func(t *testing.T) {
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					silent(t, spec)
					runtime.ReadMemStats(&after)
					if grown := int64(after.TotalAlloc) - int64(before.TotalAlloc); grown > 50<<20 {
						t.Errorf("%d MB were allocated", grown>>20)
					}
				})
			}
		})
	}
}

// TestCanaryOfFiles: lines of AWS's files that make no sense.
func TestCanaryOfFiles(t *testing.T) {
	for name, text := range map[string]string{
		"no section":      canary + " = " + canary + "\n",
		"open section":    "[default\naws_secret_access_key = " + canary,
		"no equals":       "[default]\n" + canary + "\n",
		"half a pair":     "[default]\naws_secret_access_key = " + canary + "\n",
		"no secret":       "[default]\naws_access_key_id = " + canary + "\n",
		"odd section":     "[" + canary + "]\n[default]\nsource_profile = " + canary + "\nrole_arn = " + canary + "\n",
		"role of nobody":  "[default]\nrole_arn = " + canary + "\n",
		"odd source":      "[default]\nrole_arn = " + canary + "\ncredential_source = " + canary + "\n",
		"odd duration":    "[default]\nduration_seconds = " + canary + "\nrole_arn = " + canary + "\nsource_profile = default\n",
		"multi-factor":    "[default]\nrole_arn = arn:aws:iam::1:role/" + canary + "\nmfa_serial = " + canary + "\nsource_profile = b\n[b]\naws_access_key_id = " + canary + "\naws_secret_access_key = " + canary + "\n",
		"multi-factor, p": "[default]\nrole_arn = arn:aws:iam::1:role/" + canary + "\nmfa_serial = " + canary + "\nsource_profile = b\n[profile b]\ncredential_process = echo '" + goodDocument + "'\n",
		"no SSO":          "[default]\nsso_session = " + canary + "\nsso_account_id = " + canary + "\nsso_role_name = " + canary + "\n",
		"old SSO":         "[default]\nsso_start_url = https://" + canary + "\nsso_region = " + canary + "\nsso_account_id = " + canary + "\nsso_role_name = " + canary + "\n",
		"web identity":    "[default]\nweb_identity_token_file = /no/" + canary + "\nrole_arn = " + canary + "\n",
		"binary":          "\x00\xff" + canary + "\x1b[31m",
		"endless line":    "[default]\naws_access_key_id = " + strings.Repeat(canary, 100_000),
		"nothing":         "",
	} {
		t.Run(name, func(t *testing.T) {
			dir := noAWS(t)
			for _, file := range []string{"config", "credentials", "static"} {
				writeFile(t, filepath.Join(dir, file), text)
			}
			for _, spec := range []string{"profile:default", "static:" + filepath.Join(dir, "static"), "profile:" + canary + "-not-there"} {
				if name == "multi-factor, p" && !strings.HasPrefix(spec, "profile:default") {
					continue
				}
				t.Run(spec[:7], func(t *testing.T) {
					if strings.Contains(spec, canary) { // its name is the operator's own, in the source's name
						source, err := ParseSource(spec)
						if err != nil {
							t.Fatal(err)
						}
						_, err = source.fetch(t.Context(), withRole("web-1", "app"), openimds.RoleForV2)
						if err == nil || strings.Contains(err.Error(), canary) {
							t.Errorf("%v", err)
						}
						return
					}
					silent(t, spec)
				})
			}
		})
	}
}

// TestCanaryOfServices: answers of a service that are none, or refusals that quote what was asked.
func TestCanaryOfServices(t *testing.T) {
	fails := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("X-Amzn-Requestid", canary)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"refusal":      fails(403, "text/xml", `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>`+canary+`</Message></Error><RequestId>`+canary+`</RequestId></ErrorResponse>`),
		"odd code":     fails(400, "text/xml", `<ErrorResponse><Error><Type>`+canary+`</Type><Code>`+canary+`</Code><Message>`+canary+`</Message></Error></ErrorResponse>`),
		"JSON":         fails(400, "application/json", `{"Error":{"Code":"`+canary+`"}}`),
		"page":         fails(502, "text/html", `<html>`+canary),
		"not XML":      fails(200, "text/xml", canary),
		"half":         fails(200, "text/xml", `<AssumeRoleResponse><AssumeRoleResult><Credentials><SecretAccessKey>`+canary),
		"odd time":     fails(200, "text/xml", `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>`+canary+`</SecretAccessKey><SessionToken>`+canary+`</SessionToken><Expiration>`+canary+`</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`),
		"expired":      fails(200, "text/xml", `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>`+canary+`</SecretAccessKey><SessionToken>`+canary+`</SessionToken><Expiration>2020-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`),
		"no keys":      fails(200, "text/xml", `<AssumeRoleResponse><AssumeRoleResult><AssumedRoleUser><Arn>`+canary+`</Arn></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>`),
		"endless":      endless(200),
		"endless fail": endless(400),
		"redirect": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/"+canary)
			w.WriteHeader(307)
		},
		"huge headers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Huge", strings.Repeat(canary, 50_000))
		},
		"broken off": func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n<AssumeRoleResponse>"+canary)
				_ = c.Close()
			}
		},
		"no HTTP": func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = io.WriteString(c, canary+" "+canary+"\r\n\r\n")
				_ = c.Close()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := noAWS(t)
			sts := httptest.NewServer(answer)
			defer sts.Close()
			t.Setenv("AWS_ENDPOINT_URL", sts.URL)
			t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
			writeFile(t, filepath.Join(dir, "token"), canary)
			writeFile(t, filepath.Join(dir, "config"), "[profile keys]\naws_access_key_id = AKIA"+canary+"\naws_secret_access_key = "+canary+"\nregion = us-east-1\n"+
				"[profile role]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = keys\nregion = us-east-1\n"+
				"[profile process]\ncredential_process = echo '"+goodDocument+"'\n"+
				"[profile chained]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = process\nregion = us-east-1\n"+
				"[profile web]\nrole_arn = arn:aws:iam::123456789012:role/x\nweb_identity_token_file = "+filepath.Join(dir, "token")+"\nregion = us-east-1\n")
			specs := []string{
				"assume-role:arn:aws:iam::123456789012:role/y?profile=keys&endpoint=" + url.QueryEscape(sts.URL),
				"assume-role:arn:aws:iam::123456789012:role/y?profile=keys&endpoint=" + url.QueryEscape(strings.Replace(sts.URL, "//", "//user:"+canary+"@", 1)),
				"profile:role", "profile:web",
			}
			if runtime.GOOS != "windows" {
				specs = append(specs, "profile:chained")
			}
			for i, spec := range specs {
				t.Run(fmt.Sprint(i), func(t *testing.T) { silent(t, spec) })
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		noAWS(t)
		t.Setenv("AWS_ACCESS_KEY_ID", canary)
		t.Setenv("AWS_SECRET_ACCESS_KEY", canary)
		silent(t, "assume-role:arn:aws:iam::123456789012:role/y?endpoint="+url.QueryEscape("http://user:"+canary+"@127.0.0.1:1"))
		silent(t, "assume-role:arn:aws:iam::123456789012:role/y?endpoint="+url.QueryEscape(canary))
		silent(t, "assume-role:arn:aws:iam::123456789012:role/y?endpoint="+url.QueryEscape("http://[::1"+canary))
	})
}

func endless(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<ErrorResponse>")
		block := strings.Repeat(canary, 4096)
		for range 300 << 20 / len(block) {
			if _, err := io.WriteString(w, block); err != nil {
				return
			}
		}
	}
}

// TestCanaryOfPanics: a library may panic with what it worked on.
func TestCanaryOfPanics(t *testing.T) {
	for _, fault := range []any{canary, fmt.Errorf("%s", canary), struct{ S string }{canary}} {
		h := &held{key: key{source: &Source{fetch: nil}}, now: time.Now}
		h.key.source.fetch = func(context.Context, *openimds.Instance, openimds.CredentialSet) (aws.Credentials, error) {
			panic(fault)
		}
		if _, err := h.fetch(t.Context(), withRole("web-1", "app")); err == nil || strings.Contains(fmt.Sprintf("%+v %#v", err, err), canary) {
			t.Errorf("%v", err)
		}
	}
}

// TestSourcesDescribed: what is wrong with a description is said without repeating it.
func TestSourcesDescribed(t *testing.T) {
	for _, spec := range []string{
		canary, canary + ":x", "assume-role:" + canary, "assume-role:arn:x?" + canary + "=1", "assume-role:arn:x?duration=" + canary,
		"assume-role:arn:x?session-tags=" + canary, "assume-role:arn:x?%zz" + canary,
	} {
		if _, err := ParseSource(spec); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", spec, err)
		}
	}
}
