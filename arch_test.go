package openimds_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/openimds/openimds"

// A law says what a package may import beside the standard library, and why nothing else.
type law struct {
	may    []string
	reason string
}

// laws has a line for every package. Packages of this module are written as on the
// command line; "." is the root. Tests may import what they like.
var laws = map[string]law{
	".": {nil,
		"the words are everybody's, so they depend on nobody"},
	"./store": {nil,
		"a store keeps records whatever they hold"},
	"./records": {[]string{".", "./store"},
		"who writes a record and who watches it read it alike, whichever store it is in"},
	"./refusals": {[]string{".", "./records", "./store"},
		"who waits and who tells meet in the store; what is done about a refusal is for who waits"},
	"./control": {[]string{".", "./metadata", "./records", "./refusals", "./store", "golang.org/x/crypto"},
		"the rules are read, tested and reused without any adapter"},
	"./metadata": {[]string{"."},
		"a category's value comes from the instance alone; no request, store or network decides it"},
	"./scenario/aemm": {[]string{".", "./jsonfile", "./metadata"},
		"it reads a file; who carries it out is a client like others"},
	"./scenario": {[]string{".", "./api/awsjson", "./api/lightsail/wire", "./client", "./control", "./scenario/aemm", "./yamlfile", "go.yaml.in/yaml"},
		"a file changes instances as an operator does, here or elsewhere: it has no door of its own"},
	"./migrate/report": {[]string{".", "./advice", "./api/awsjson", "./api/lightsail/wire", "./attest", "./client", "./migrate", "./printable"},
		"it writes down what others found, and has it signed"},
	"./migrate/board": {[]string{".", "./api", "./api/awsjson", "./api/lightsail/wire", "./api/sigv4", "./attest", "./client", "./control", "./migrate", "./migrate/report", "./safefile", "github.com/aws/aws-sdk-go-v2"},
		"it calls the operations that others call, of the process that it is in: it has no door of its own and no verdict"},
	"./migrate": {[]string{".", "./advice", "./api/awsjson", "./api/cloudwatch/wire", "./api/ec2/wire", "./api/lightsail/wire", "./client", "./safefile", "./yamlfile", "go.yaml.in/yaml", "golang.org/x/sys"},
		"what is taken to version 2 is so through an API that others have too: it knows neither a store nor a guest"},
	"./yamlfile": {[]string{"go.yaml.in/yaml"},
		"how a file is read strictly does not depend on what it is for"},
	"./strictjson": {nil,
		"what two readers could take differently is refused alike, whatever it is for"},
	"./jsonfile": {[]string{"./strictjson"},
		"what is wrong with a file is said alike, whatever it is for"},
	"./audit": {[]string{".", "./api/front", "./printable", "./safefile", "golang.org/x/time"},
		"what stands in the log is the service's and the API's to say; it sees to it that it stands there"},
	"./audit/storelog": {[]string{".", "./audit", "./records", "./store"},
		"what is told is the service's to say, and how a line looks the log's; it keeps both where all servers find them"},
	"./audit/audittest": {[]string{"."},
		"tests read what the audit is told, whoever tells it"},
	"./backup": {nil,
		"what is in an archive, and whose data it is, is for who writes and reads it"},
	"./printable": {nil,
		"what a terminal can be told to do does not depend on who says it"},
	"./safefile": {nil,
		"how a file is written safely does not depend on what it is for"},
	"./recording": {[]string{".", "./jsonfile", "./metadata", "./printable"},
		"it asks a service as a guest does, and knows nothing of those that are served here"},
	"./attest": {[]string{".", "./safefile"},
		"who verifies a report needs nothing of who made it, or of what it says"},
	"./session": {nil,
		"a token is sealed bytes; what seals it knows nothing of instances and HTTP"},
	"./identity": {[]string{".", "./safefile", "github.com/smallstep/pkcs7"},
		"what is signed comes from metadata; who signs need not know how it is served"},
	"./hostcert": {[]string{".", "./records", "./safefile", "./store", "golang.org/x/time"},
		"who is a host is decided by certificates and records; who carries the requests need not know how"},
	"./hostlink": {[]string{".", "./metadata", "./records", "./store", "./store/within"},
		"a host asks and is told; what it may have is decided where it asks, and how it serves elsewhere"},
	"./hostdoor": {[]string{".", "./api/front", "./control", "./hostcert", "./hostlink", "./metadata", "./records", "./store", "./strictjson", "./usage", "./usage/history", "golang.org/x/time"},
		"who comes is known by a certificate and whose a thing is by the rules; a request decides neither"},
	"./instanceconnect": {[]string{".", "./safefile", "golang.org/x/crypto"},
		"who signs a key need not know who pushed it, nor how it is served"},
	"./credentials/generated": {[]string{"."},
		"credentials that open nothing need nobody to give them"},
	"./credentials": {[]string{".", "./credentials/generated", "github.com/aws/aws-sdk-go-v2", "github.com/aws/smithy-go", "golang.org/x/time"},
		"where credentials come from is hidden from who serves them, and the other way round"},
	"./periods": {nil,
		"how often something comes does not depend on what it is"},
	"./usage": {[]string{".", "./metadata", "./periods", "./store"},
		"counting is told what happened, and knows the table; it cannot ask for more and hold a request up"},
	"./usage/history": {[]string{".", "./store"},
		"it keeps what it is told in root words, so that an engine for metrics can take its place"},
	"./usage/engine": {[]string{".", "./safefile", "./store", "./usage/history", "github.com/golang/snappy", "google.golang.org/protobuf"},
		"it carries samples of a history to an engine and back; who counts and who asks need not know"},
	"./usage/engine/enginetest": {[]string{"./safefile"},
		"tests have real engines, whatever they tell them"},
	"./usage/prom": {[]string{"./usage", "github.com/prometheus/client_golang"},
		"who counts need not know who reads it, and a test of a guest brings no Prometheus"},
	"./lifecycle": {[]string{"./records", "./store"},
		"the rules of transitions are Service's; who ends them when their time has come only calls it"},
	"./alarms": {[]string{".", "./control", "./records", "./store"},
		"the rules of alarms are Service's; who has them evaluated, and tells of it, only calls them"},
	"./advice": {nil,
		"what software needs to know IMDSv2 does not depend on who has seen it call"},
	"./imds": {[]string{".", "./metadata", "./printable", "./session", "./usage", "golang.org/x/sys", "golang.org/x/time"},
		"the guest side never waits for a store and knows nothing of the operator's side"},
	"./api/accesskeys": {[]string{"./safefile", "github.com/rogpeppe/go-internal"},
		"the operator's keys are a file that AWS's tools read; instances have no part in it"},
	"./api/front": {[]string{"./safefile"},
		"who connects is nobody yet: what they ask for, and of whom, is for others"},
	"./api/sigv4": {[]string{"./api/accesskeys", "./api/front", "golang.org/x/time"},
		"who signed a request is decided before anything reads what it asks for"},
	"./api/ec2query": {nil,
		"how a form is read strictly does not depend on what it asks for"},
	"./api/ec2": {[]string{".", "./api", "./api/ec2query", "./api/ec2/wire", "./api/front", "./api/sigv4", "./control"},
		"a handler that knew a store or the guest side could go around Service, the one door"},
	"./api/ec2/wire": {[]string{".", "./api/ec2query"},
		"a client has these shapes without anything of a server"},
	"./api/awsjson": {[]string{"./strictjson"},
		"how a body is read strictly does not depend on what it asks for"},
	"./api": {[]string{".", "./api/front", "./api/sigv4", "./control"},
		"what all protocols do alike knows none of them, and goes through Service, the one door"},
	"./api/lightsail": {[]string{".", "./advice", "./api", "./api/awsjson", "./api/front", "./api/lightsail/wire", "./api/sigv4", "./control", "./periods"},
		"a handler that knew a store or the guest side could go around Service, the one door"},
	"./api/lightsail/wire": {[]string{".", "./advice", "./api/awsjson"},
		"a client has these shapes without anything of a server"},
	"./api/cloudwatch": {[]string{".", "./api", "./api/awsjson", "./api/cloudwatch/wire", "./api/front", "./api/sigv4", "./control", "github.com/aws/smithy-go"},
		"a handler that knew a store or the guest side could go around Service, the one door"},
	"./api/cloudwatch/wire": {[]string{"./api/awsjson"},
		"a client has these shapes without anything of a server"},
	"./client": {[]string{"./api/cloudwatch/wire", "./api/ec2/wire", "./api/ec2query", "./api/lightsail/wire", "github.com/aws/aws-sdk-go-v2"},
		"whoever calls a service, ours or AWS's, needs nothing of a server; the SDK signs as AWS's own tools do"},
	"./console": {[]string{".", "./api", "./api/accesskeys", "./api/front", "./api/sigv4", "./records", "./safefile", "./store"},
		"the console calls what the API has, by its table and its checks: it has no door of its own, and knows neither rules nor shapes"},
	"./store/bolt": {[]string{"./safefile", "./store", "go.etcd.io/bbolt"},
		"a store keeps records; a rule in it would have to be written again in the next store"},
	"./store/etcd": {[]string{"./safefile", "./store", "go.etcd.io/etcd", "go.uber.org/zap", "google.golang.org/grpc"},
		"a store keeps records; a rule in it would have to be written again in the next store"},
	"./store/etcd/etcdtest": {[]string{"github.com/rogpeppe/go-internal"},
		"tests have a real cluster, whatever they keep in it"},
	"./store/within": {[]string{"./store"},
		"a part of a store is one like others, whatever is kept in it"},
	"./store/mem": {[]string{"./store"},
		"a store keeps records; a rule in it would have to be written again in the next store"},
	"./store/storetest": {[]string{"./store"},
		"the contract of all stores knows none of them"},
	"./hostnet": {[]string{"github.com/dchest/siphash", "github.com/google/nftables", "github.com/vishvananda/netlink", "github.com/vishvananda/netns", "golang.org/x/sys"},
		"the host's network is a desired state of endpoints, to be tested without instances"},
	"./fdpass": {[]string{"./socketowner", "golang.org/x/sys"},
		"messages and files are passed on without knowing what they are for"},
	"./socketowner": {[]string{"golang.org/x/sys"},
		"whose a connection is, is the kernel's to say, whatever is asked over it"},
	"./processes": {[]string{"golang.org/x/sys"},
		"what a process is called does not depend on what it did"},
	"./naming": {[]string{".", "./imds", "./processes", "./socketowner", "./trace", "github.com/vishvananda/netlink", "github.com/vishvananda/netns", "golang.org/x/sys", "golang.org/x/time"},
		"who called is looked for beside the guest side, which tells of a call and waits for nobody"},
	"./trace": {[]string{"./processes", "./usage", "github.com/cilium/ebpf", "golang.org/x/sys"},
		"it looks on at whatever service there is, so that it works where no openimds is"},
	"./trace/prom": {[]string{"./trace", "github.com/prometheus/client_golang"},
		"who looks on need not know who reads the numbers"},
	"./sandbox": {[]string{"./fdpass", "./processes", "github.com/vishvananda/netlink", "golang.org/x/sys"},
		"a command's namespaces are made without knowing what answers in them"},
	"./agent": {[]string{".", "./records", "./store"},
		"the agent carries records to whoever serves them, and is told who that is"},
	"./attach": {[]string{".", "./hostnet", "./records", "./store", "github.com/prometheus/procfs"},
		"it carries records to the host's network; who serves the instances there is for others"},
	"./guestside": {[]string{".", "./agent", "./imds", "./metadata", "./records", "./store"},
		"it wires store and guests; where credentials and keys come from is for who starts it"},
	"./imdstest": {[]string{".", "./api", "./api/accesskeys", "./api/ec2", "./api/sigv4", "./control", "./credentials/generated", "./guestside", "./identity", "./imds", "./metadata", "./store", "./store/mem"},
		"others' tests import it: of the operator's side it has EC2's API, which they may ask for, and no file"},
	"./outlet": {nil,
		"who may block is whoever reads, whatever is written"},
	"./handover": {[]string{"./fdpass", "./imds", "./printable"},
		"listeners are handed over without knowing who serves them, and who calls"},
	"./runner": {[]string{".", "./control", "./credentials", "./guestside", "./handover", "./identity", "./imds", "./outlet", "./printable", "./safefile", "./sandbox", "./store/mem", "./store"},
		"a command is run without a server, an API or a data directory"},
	"./server": {[]string{".", "./agent", "./alarms", "./api", "./api/accesskeys", "./api/ec2", "./api/front", "./api/cloudwatch", "./api/lightsail", "./api/sigv4", "./attach", "./attest", "./audit", "./audit/storelog", "./backup", "./console", "./control",
		"./credentials", "./guestside", "./handover", "./hostcert", "./hostdoor", "./hostlink", "./hostnet", "./identity", "./imds", "./instanceconnect", "./lifecycle", "./metadata", "./migrate/board", "./naming", "./printable", "./records", "./refusals", "./safefile",
		"./socketowner", "./store", "./store/bolt", "./store/etcd", "./store/within", "./usage", "./usage/engine", "./usage/history", "./usage/prom"},
		"it wires all of a server, for programs and tests of others too: no flags, no terminal"},
	command: {[]string{".", "./advice", "./api/accesskeys", "./api/awsjson", "./api/lightsail/wire", "./client", "./control", "./credentials", "./hostcert", "./identity", "./instanceconnect",
		"./attest", "./migrate", "./migrate/report", "./outlet", "./printable", "./processes", "./recording", "./runner", "./safefile", "./sandbox", "./scenario", "./scenario/aemm", "./server", "./trace", "./trace/prom",
		"github.com/aws/aws-sdk-go-v2", "github.com/spf13/cobra", "github.com/spf13/pflag", "go.yaml.in/yaml"},
		"a command is flags, one call and what is printed: what the call does can be had without a terminal, and is not here"},
}

// command is the program: what it prints has laws of its own.
const command = "./cmd/openimds"

func TestImports(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		law, ok := laws[f.pkg]
		if !ok {
			t.Errorf("%s: package %s has no place among the laws", f.path, f.pkg)
			continue
		}
		for _, imported := range f.imports() {
			mayBe := func(allowed string) bool { return allowed == imported || foreign(allowed) && below(allowed, imported) }
			if (foreign(imported) || ours(imported)) && !slices.ContainsFunc(law.may, mayBe) {
				t.Errorf("%s imports %s: %s", f.path, imported, law.reason)
			}
		}
	}
}

// lean are packages that the programs and tests of others import, and the modules that may come with them
// on Linux, directly or not: all the rest of this program's (netlink, nftables, Prometheus, cobra, AWS's SDK)
// is not theirs to compile, to check and to update.
var lean = map[string][]string{
	"./imds":     {"golang.org/x/sys", "golang.org/x/time"},
	"./imdstest": {"github.com/rogpeppe/go-internal", "github.com/smallstep/pkcs7", "golang.org/x/crypto", "golang.org/x/sys", "golang.org/x/time"},
}

func TestLean(t *testing.T) {
	for pkg, modules := range lean {
		list := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", pkg)
		list.Env = append(os.Environ(), "GOOS=linux")
		out, err := list.Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		for path := range strings.Lines(string(out)) {
			path = strings.TrimSpace(path)
			may := func(module string) bool { return below(module, path) }
			if !below(module, path) && !slices.ContainsFunc(modules, may) {
				t.Errorf("%s brings %s, which its users have no need of", pkg, path)
			}
		}
	}
}

// TestModules holds the list of modules together with the reasons for them.
func TestModules(t *testing.T) {
	required := requiredModules(t)
	reasons := read(t, "docs/ARCHITECTURE.md")
	direct := map[string]string{} // module → a file that needs it
	for _, f := range goFiles(t) {
		for _, imported := range f.imports() {
			if !foreign(imported) {
				continue
			}
			best := ""
			for _, m := range required {
				if below(m, imported) && len(m) > len(best) {
					best = m
				}
			}
			if best == "" {
				t.Errorf("%s imports %s, which no module of go.mod has", f.path, imported)
				continue
			}
			direct[best] = f.path
		}
	}
	for m, file := range direct {
		if !bytes.Contains(reasons, []byte("`"+m+"`")) {
			t.Errorf("docs/ARCHITECTURE.md does not say why %s needs the module %s", file, m)
		}
	}
	// The SDK's config module brings the clients of these services, for profiles that log in. A
	// generated client is larger than all of this program, which is itself the service.
	const services = "github.com/aws/aws-sdk-go-v2/service/"
	for _, m := range required {
		service, ok := strings.CutPrefix(m, services)
		if ok && !strings.HasPrefix(service, "internal/") && !slices.Contains([]string{"signin", "sso", "ssooidc", "sts"}, service) {
			t.Errorf("go.mod has %s: clients of AWS services belong into the separate module of the client tests", m)
		}
	}
}

// TestPackages: every package says what it is for, under a name that does, and is on the map.
func TestPackages(t *testing.T) {
	documented := map[string]bool{}
	drawn := map[string]bool{} // in the tree of packages
	for line := range strings.Lines(string(read(t, "docs/ARCHITECTURE.md"))) {
		if branch := strings.TrimLeft(line, "├└─ "); branch != line {
			names, _, _ := strings.Cut(branch, "  ")
			for name := range strings.SplitSeq(names, ",") {
				drawn["./"+strings.TrimSpace(name)] = true
			}
		}
	}
	for _, f := range goFiles(t) {
		name := strings.TrimSuffix(f.ast.Name.Name, "_test")
		if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "manager", "misc", "shared"}, name) {
			t.Errorf("%s: package name %s says where code was put, not what it does", f.path, name)
		}
		if !f.test {
			documented[f.pkg] = documented[f.pkg] || f.ast.Doc != nil
		}
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no doc comment", pkg)
		}
		if pkg != "." && !drawn[pkg] {
			t.Errorf("docs/ARCHITECTURE.md does not draw package %s", pkg)
		}
	}
}

// TestNoInit: what runs before main can be neither ordered nor tested nor left out. The program's first thread can
// be kept for itself at no other time.
func TestNoInit(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.path == "cmd/openimds/main.go" {
			continue
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function", f.path)
			}
		}
	}
}

// TestFilesAreWrittenSafely: one package opens files for writing, gives them names and moves them.
func TestFilesAreWrittenSafely(t *testing.T) {
	const safe = "./safefile"
	elsewhere := map[string]string{
		"sandbox/network_linux.go": "a file system of its own, that nobody else sees",
		"hostnet/netns_linux.go":   "reads namespaces, which are no files",
	}
	calls := []string{"WriteFile", "Create", "CreateTemp", "OpenFile", "Rename", "Link", "Symlink", "Truncate"}
	for _, f := range goFiles(t) {
		if f.test || f.pkg == safe || elsewhere[filepath.ToSlash(f.path)] != "" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if call, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := call.X.(*ast.Ident); ok && pkg.Name == "os" && slices.Contains(calls, call.Sel.Name) {
					t.Errorf("%s calls os.%s: write files by %s, which follows no link and tears none", f.path, call.Sel.Name, safe)
				}
			}
			return true
		})
	}
}

// TestPrinting: the command prints by one function, through one writer, so that no text of others reaches
// a terminal as it is.
func TestPrinting(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test || f.pkg != command {
			continue
		}
		name := filepath.Base(f.path)
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			of, _ := sel.X.(*ast.Ident)
			pkg := ""
			if of != nil {
				pkg = of.Name
			}
			switch call := sel.Sel.Name; {
			case pkg == "fmt" && strings.HasPrefix(call, "Fprint") && name != "output.go",
				pkg == "fmt" && strings.HasPrefix(call, "Print"), pkg == "cmd" && strings.HasPrefix(call, "Print"):
				t.Errorf("%s calls %s.%s: print by say or printTable of output.go", f.path, pkg, call)
			case pkg == "os" && (call == "Stdout" || call == "Stderr") && name != "main.go":
				t.Errorf("%s has os.%s: what is printed goes where main says", f.path, call)
			}
			return true
		})
	}
}

// TestSizes holds the budgets of size: what outgrows one has usually got a second subject.
func TestSizes(t *testing.T) {
	const fileLines, testFileLines, functionLines = 400, 600, 60
	for _, f := range goFiles(t) {
		limit := fileLines
		if f.test {
			limit = testFileLines
		}
		if n := f.lines(f.ast.FileStart, f.ast.FileEnd); n > limit {
			t.Errorf("%s has %d lines, above %d", f.path, n, limit)
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil || f.test {
				continue // tests hold long tables
			}
			if n := f.lines(fn.Body.Lbrace, fn.Body.Rbrace) - 1; n > functionLines {
				t.Errorf("%s: function %s has %d lines, above %d", f.path, fn.Name.Name, n, functionLines)
			}
		}
	}
}

// goFile is one file of this module, whatever system it is for.
type goFile struct {
	path string
	pkg  string // its package, as in laws
	test bool
	fset *token.FileSet
	ast  *ast.File
}

// goFiles parses the module. Separate modules below it have their own rules.
func goFiles(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, notAModule := os.Stat(filepath.Join(path, "go.mod"))
			if path != "." && (notAModule == nil || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		parsed, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg := "."
		if dir := filepath.Dir(path); dir != "." {
			pkg = "./" + filepath.ToSlash(dir)
		}
		files = append(files, goFile{path, pkg, strings.HasSuffix(path, "_test.go"), fset, parsed})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("found no Go file")
	}
	return files
}

// imports returns what the file imports, packages of this module as in laws.
func (f goFile) imports() []string {
	var paths []string
	for _, spec := range f.ast.Imports {
		path := strings.Trim(spec.Path.Value, "`\"")
		if path == module || strings.HasPrefix(path, module+"/") {
			path = "." + strings.TrimPrefix(path, module)
		}
		paths = append(paths, path)
	}
	return paths
}

func (f goFile) lines(from, to token.Pos) int {
	return f.fset.Position(to).Line - f.fset.Position(from).Line
}

// ours tells the packages of this module.
func ours(path string) bool { return strings.HasPrefix(path, ".") }

// foreign tells the packages of other modules: their paths begin with a domain.
func foreign(path string) bool {
	domain, _, _ := strings.Cut(path, "/")
	return !ours(path) && strings.Contains(domain, ".")
}

// below tells whether path is that package or module, or one inside it.
func below(root, path string) bool {
	return path == root || root != "." && strings.HasPrefix(path, root+"/")
}

// requiredModules returns all that go.mod requires, directly or not.
func requiredModules(t *testing.T) []string {
	t.Helper()
	var modules []string
	for line := range strings.Lines(string(read(t, "go.mod"))) {
		fields := strings.Fields(strings.TrimPrefix(line, "require "))
		if len(fields) >= 2 && strings.HasPrefix(fields[1], "v") {
			modules = append(modules, fields[0])
		}
	}
	if len(modules) == 0 {
		t.Fatal("found no requirement in go.mod")
	}
	return modules
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
