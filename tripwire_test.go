package openimds_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/openimds/openimds"
)

// enforced says, for each of the switches, which packages carry it out. A switch that nobody obeys
// would be a promise to an operator that does not hold.
var enforced = map[string][]string{
	"Tokens":   {"imds"},
	"Endpoint": {"imds"},
	"HopLimit": {"imds"},
	"IPv6":     {"imds"},
	"Tags":     {"metadata"},
	"State":    {"control", "agent"},
}

// suffered says, for each fault on purpose, which packages carry it out.
var suffered = map[string][]string{
	"On":                 {"imds"},
	"LatencyMillis":      {"."},
	"JitterMillis":       {"."},
	"LatencyShare":       {"imds"},
	"Status":             {"imds"},
	"StatusShare":        {"imds"},
	"RefuseShare":        {"imds"},
	"DropShare":          {"imds"},
	"ExpiredCredentials": {"imds"},
	"AbsentSeconds":      {"."},
	"AbsentUntil":        {"."},
	"Until":              {".", "guestside"},
	"Since":              {".", "guestside"},
	"Count":              {"imds", "guestside"},
	"Met":                {"control", "imds"},
	"CountedFrom":        {"control", "imds"},
}

// rehearsed says, for each part of a rehearsal, which packages carry it out.
var rehearsed = map[string][]string{
	"Mode":  {"imds"},
	"Share": {"imds"},
	"Since": {"imds"},
	"Until": {"imds"},
	"Ended": {"control", "."},
}

// shown says, for each field of an instance, which packages make use of it: what the guest reads in
// metadata, what the operator reads in lightsail, what the rules turn on in control.
var shown = map[string][]string{
	"Name":                {"control", "api/lightsail", "agent"},
	"ID":                  {"control", "metadata", "imds"},
	"UUID":                {"control", "api/lightsail"},
	"State":               {"control", "api/lightsail", "imds"},
	"CreatedAt":           {"control", "api/lightsail"},
	"LaunchedAt":          {"control", "metadata"},
	"ModifiedAt":          {"control"},
	"Options":             {"control", "api/lightsail", "imds", "agent"},
	"OptionsOperation":    {"control"},
	"TokenKey":            {"control", "imds"},
	"Bound":               {"control"},
	"Region":              {"control", "metadata"},
	"Zone":                {"control", "metadata", "api/lightsail"},
	"ZoneID":              {"metadata"},
	"OwnerID":             {"control", "metadata", "api/lightsail"},
	"BlueprintID":         {"api/lightsail"},
	"FormerBundleID":      {"control"},
	"BundleID":            {"control", "api/lightsail"},
	"ImageID":             {"metadata"},
	"InstanceType":        {"control", "metadata"},
	"Architecture":        {"metadata"},
	"System":              {"metadata"},
	"LifeCycle":           {"."},
	"ReservationID":       {"metadata"},
	"LaunchIndex":         {"."},
	"AncestorAMIIDs":      {"metadata"},
	"KernelID":            {"metadata"},
	"RamdiskID":           {"metadata"},
	"ProductCodes":        {"metadata"},
	"PlacementGroup":      {"metadata"},
	"PartitionNumber":     {"metadata"},
	"HostID":              {"metadata"},
	"DetailedMonitoring":  {"metadata"},
	"Hibernation":         {"."},
	"NICs":                {"control", "metadata", "api/lightsail"},
	"Links":               {"control"},
	"BlockDevices":        {"metadata"},
	"PublicKeys":          {"metadata"},
	"ManagedKeys":         {"metadata"},
	"UserData":            {"metadata"},
	"Tags":                {"control", "metadata", "api/lightsail"},
	"Role":                {"control", "metadata"},
	"ExtendedCredentials": {"control", "metadata"},
	"Events":              {"metadata"},
	"Faults":              {"control", "imds", "api/lightsail"},
	"Rehearsal":           {"control", "imds", "api/lightsail"},
	"Overlay":             {"control", "metadata"},
	"Recorded":            {"control", "imds", "api/lightsail"},
	"Recording":           {"control", "metadata", "imds"},
	"AddressType":         {"control", "api/lightsail"},
	"StaticIPName":        {"control", "api/lightsail"},
	"KeyPairName":         {"api/lightsail"},
	"Username":            {"api/lightsail"},
	"Ports":               {"control", "api/lightsail"},
}

// TestTripwire fails when a field is added, so that whoever adds it says what makes use of it, and
// fails when that package does not even mention it.
func TestTripwire(t *testing.T) {
	mentioned := map[string]map[string]bool{}
	for _, tt := range []struct {
		of   reflect.Type
		uses map[string][]string
	}{
		{reflect.TypeFor[openimds.MetadataOptions](), enforced},
		{reflect.TypeFor[openimds.Faults](), suffered},
		{reflect.TypeFor[openimds.Rehearsal](), rehearsed},
		{reflect.TypeFor[openimds.Instance](), shown},
	} {
		for field := range tt.of.Fields() {
			if len(tt.uses[field.Name]) == 0 {
				t.Errorf("%s.%s is used by nobody: name here what carries it out, or do not accept it", tt.of.Name(), field.Name)
			}
		}
		for name, packages := range tt.uses {
			if _, ok := tt.of.FieldByName(name); !ok {
				t.Errorf("%s has no field %s", tt.of.Name(), name)
			}
			for _, dir := range packages {
				if mentioned[dir] == nil {
					mentioned[dir] = selectors(t, dir)
				}
				if !mentioned[dir][name] {
					t.Errorf("%s.%s is said to be used by %s, which does not mention it", tt.of.Name(), name, dir)
				}
			}
		}
	}
	for field := range reflect.TypeFor[openimds.OptionsUpdate]().Fields() {
		if enforced[field.Name] == nil || field.Type.Kind() != reflect.Pointer {
			t.Errorf("OptionsUpdate.%s changes nothing that is enforced, or cannot be left out", field.Name)
		}
	}
}

// selectors are the names that stand behind a dot in a package's code, tests apart.
func selectors(t *testing.T, dir string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no Go files in %s: %v", dir, err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				names[s.Sel.Name] = true
			}
			return true
		})
	}
	return names
}

// TestSecretsAreTyped: bytes that are key material have the type that hides them from logs.
func TestSecretsAreTyped(t *testing.T) {
	bytesFields := map[string]string{}
	for _, of := range []reflect.Type{reflect.TypeFor[openimds.Instance](), reflect.TypeFor[openimds.KeyPair](), reflect.TypeFor[openimds.RoleCredentials]()} {
		for field := range of.Fields() {
			if field.Type.Kind() == reflect.Slice && field.Type.Elem().Kind() == reflect.Uint8 {
				bytesFields[of.Name()+"."+field.Name] = field.Type.Name()
			}
		}
	}
	want := map[string]string{
		"Instance.TokenKey": "Secret", "Instance.UserData": "", "KeyPair.PrivateKey": "Secret",
		"RoleCredentials.SecretAccessKey": "Secret", "RoleCredentials.Token": "Secret",
	}
	if !reflect.DeepEqual(bytesFields, want) {
		t.Errorf("fields of bytes: %v, want %v", bytesFields, want)
	}
}
