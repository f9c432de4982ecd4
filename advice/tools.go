package advice

import (
	"path"
	"slices"
	"strings"
)

// kind is what a caller's software is, as far as it decides what there is to do.
type kind uint8

const (
	// versioned software knows IMDSv2 from a version on.
	versioned kind = iota
	// always: each version knows it.
	always
	// never: no version does.
	never
	// command lines and scripts ask as they are written.
	command
	// library of HTTP: it fetches what a program tells it to.
	library
)

// tool is one line of the table.
type tool struct {
	// name is what people call it.
	name string
	// products are what it calls itself in front of its version in a User-Agent, in small letters.
	products []string
	// programs are the base names of its files, where these are its own.
	programs []string
	language string // that it is written for, where the User-Agent does not tell
	kind     kind
	boots    bool   // it comes when a machine boots, and hardly else
	since    string // the first version that knows IMDSv2, of versioned ones
	// otherNumbers: the versions in the User-Agent are not those of since.
	otherNumbers bool
	instead      string // what to take in its place, of those that never will
	rewrite      func(arguments []string) []string
	also         string // what else may be of use, as the end of a sentence
	source       string
}

const (
	// minimums is AWS's list of the first versions of its SDKs, read in November 2026.
	minimums = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/use-a-supported-sdk-version-for-imdsv2.html"
	// imdsClient says that all SDKs have IMDSv2 and which fall back to IMDSv1; those that came later never had IMDSv1 alone.
	imdsClient = "https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html"
	retrieval  = "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html"
)

// agents are programs of their own; they may say which SDK they have as well.
func agents() []tool {
	return []tool{
		{name: "SSM Agent", products: []string{"amazon-ssm-agent", "ssm-agent"}, programs: []string{"amazon-ssm-agent", "ssm-agent-worker"},
			since: "2.3.814.0", source: "https://github.com/aws/amazon-ssm-agent/issues/277"},
		{name: "Datadog Agent", products: []string{"datadog agent", "datadog-agent"}, programs: []string{"datadog-agent"},
			since: "7.64.0", also: " by default (before it, set ec2_prefer_imdsv2)", source: "https://github.com/DataDog/documentation/pull/27666"},
		{name: "systemd-imdsd", products: []string{"systemd-imdsd"}, programs: []string{"systemd-imdsd"}, kind: always, boots: true,
			source: "https://github.com/systemd/systemd/blob/main/NEWS"},
	}
}

// sdks are AWS's, and its command lines.
func sdks() []tool {
	return []tool{
		{name: "AWS CLI", products: []string{"aws-cli"}, programs: []string{"aws"}, language: "Python", since: "1.16.289", source: minimums},
		{name: "AWS Tools for PowerShell", products: []string{"awspowershell", "awspowershell.netcore", "awspowershell.common"}, language: "PowerShell", since: "4.0.1.0", source: minimums},
		{name: "AWS SDK for Go v2", products: []string{"aws-sdk-go-v2"}, language: "Go", since: "0.19.0", source: minimums},
		{name: "AWS SDK for Go", products: []string{"aws-sdk-go"}, language: "Go", since: "1.25.38", source: minimums},
		{name: "AWS SDK for Python (Boto3)", products: []string{"boto3"}, language: "Python", since: "1.12.6", source: minimums},
		{name: "AWS SDK for Python (Botocore)", products: []string{"botocore"}, language: "Python", since: "1.13.25", source: minimums},
		{name: "AWS SDK for Java 2.x", products: []string{"aws-sdk-java-v2"}, language: "Java", since: "2.10.21", source: minimums},
		{name: "AWS SDK for Java", products: []string{"aws-sdk-java"}, language: "Java", since: "1.11.678", source: minimums},
		{name: "AWS SDK for JavaScript v3", products: []string{"aws-sdk-js"}, language: "JavaScript", kind: always, source: imdsClient},
		{name: "AWS SDK for JavaScript", products: []string{"aws-sdk-nodejs"}, language: "JavaScript", since: "2.722.0", source: minimums},
		{name: "AWS SDK for PHP", products: []string{"aws-sdk-php"}, language: "PHP", since: "3.147.7", source: minimums},
		{name: "AWS SDK for Ruby", products: []string{"aws-sdk-ruby3"}, language: "Ruby", since: "3.79.0", source: minimums},
		{name: "AWS SDK for Ruby v2", products: []string{"aws-sdk-ruby2"}, language: "Ruby", since: "2.11.401", source: "https://github.com/aws/aws-sdk-ruby/releases/tag/v2.11.401"},
		{name: "AWS SDK for C++", products: []string{"aws-sdk-cpp"}, language: "C++", since: "1.7.229", source: minimums},
		// The User-Agent has the version of a part, AWS's list that of the whole.
		{name: "AWS SDK for .NET", products: []string{"aws-sdk-dotnet", "aws-sdk-dotnet-coreclr", "aws-sdk-dotnet-core", "aws-sdk-dotnet-framework", "aws-sdk-dotnet-45", "aws-sdk-dotnet-35"},
			language: ".NET", since: "3.3.634.1", otherNumbers: true, source: minimums},
		{name: "AWS SDK for Rust", products: []string{"aws-sdk-rust"}, language: "Rust", kind: always, source: imdsClient},
		{name: "AWS SDK for Kotlin", products: []string{"aws-sdk-kotlin"}, language: "Kotlin", kind: always, source: imdsClient},
		{name: "AWS SDK for Swift", products: []string{"aws-sdk-swift"}, language: "Swift", kind: always, source: imdsClient},
	}
}

// programs are what else asks at a boot, for credentials, or by hand.
func programs() []tool {
	return []tool{
		{name: "boto 2", products: []string{"boto"}, language: "Python", kind: never, instead: "boto3", source: "https://github.com/boto/boto/issues/3917"},
		{name: "cloud-init", products: []string{"cloud-init"}, programs: []string{"cloud-init"}, language: "Python", boots: true,
			since: "19.4", source: "https://github.com/canonical/cloud-init/blob/main/ChangeLog"},
		{name: "cloudbase-init", products: []string{"cloudbase-init"}, programs: []string{"cloudbase-init", "cloudbase-init.exe"}, language: "Python", boots: true,
			kind: never, instead: "EC2Launch v2, or give it another metadata service (a ConfigDrive)", source: "https://github.com/cloudbase/cloudbase-init/issues/150"},
		{name: "minio-go", products: []string{"minio-go"}, programs: []string{"minio", "mc"}, language: "Go", since: "7.0.11", source: "https://github.com/minio/minio-go/pull/1489"},
		{name: "MinIO Java SDK", products: []string{"minio-java"}, language: "Java", kind: library, also: "; the SDK itself knows IMDSv2 in releases after June 2021", source: "https://github.com/minio/minio-java/pull/1192"},
		{name: "curl", products: []string{"curl"}, programs: []string{"curl"}, kind: command, rewrite: curlLines, source: retrieval},
		{name: "Wget", products: []string{"wget"}, programs: []string{"wget"}, kind: command, rewrite: wgetLines, source: retrieval},
		{name: "PowerShell", products: []string{"windowspowershell", "powershell"}, programs: []string{"pwsh", "powershell.exe", "pwsh.exe"}, language: "PowerShell", kind: command,
			rewrite: powerShellLines, also: " (EC2Launch is such a script: it knows IMDSv2 as of version 1.3.2002730)",
			source: "https://docs.aws.amazon.com/AWSEC2/latest/WindowsGuide/ec2launch.html"},
	}
}

// libraries fetch what they are told.
func libraries() []tool {
	return []tool{
		{name: "Go's net/http", products: []string{"go-http-client"}, language: "Go", kind: library,
			also: "; minio-go before 7.0.11 and the Datadog Agent before 7.64.0 call so", source: "https://github.com/minio/minio-go/pull/1489"},
		{name: "python-requests", products: []string{"python-requests"}, language: "Python", kind: library,
			also: "; cloudbase-init calls so, and no version of it knows IMDSv2", source: "https://github.com/cloudbase/cloudbase-init/issues/150"},
		{name: "Python's urllib", products: []string{"python-urllib"}, language: "Python", kind: library,
			also: "; boto 2 calls so, and no version of it knows IMDSv2", source: "https://github.com/boto/boto/issues/3917"},
		{name: "aiohttp", products: []string{"aiohttp"}, language: "Python", kind: library},
		{name: "HTTPX", products: []string{"python-httpx"}, language: "Python", kind: library},
		{name: "Apache HttpClient", products: []string{"apache-httpclient"}, language: "Java", kind: library},
		{name: "OkHttp", products: []string{"okhttp"}, language: "Java", kind: library},
		{name: "Java's HttpClient", products: []string{"java-http-client"}, language: "Java", kind: library},
		{name: "Java's HttpURLConnection", products: []string{"java"}, language: "Java", kind: library,
			also: "; an early AWS SDK for Java calls so, of which 1.11.678 is the first that knows IMDSv2", source: minimums},
		{name: "axios", products: []string{"axios"}, language: "JavaScript", kind: library},
		{name: "node-fetch", products: []string{"node-fetch"}, language: "JavaScript", kind: library},
		{name: "Node.js's fetch", products: []string{"node", "undici"}, language: "JavaScript", kind: library},
		{name: "Guzzle", products: []string{"guzzlehttp"}, language: "PHP", kind: library},
		{name: "Faraday", products: []string{"faraday"}, language: "Ruby", kind: library},
		{name: "Ruby's Net::HTTP", products: []string{"ruby"}, language: "Ruby", kind: library},
		{name: "libwww-perl", products: []string{"libwww-perl", "lwp-request"}, language: "Perl", kind: library},
		{name: "Perl's HTTP::Tiny", products: []string{"http-tiny"}, language: "Perl", kind: library},
	}
}

// table is all that calls metadata services. What stands in front is found first. byProduct and byProgram have the places in it.
var (
	table     = slices.Concat(agents(), sdks(), programs(), libraries())
	byProduct = index(func(t tool) []string { return t.products })
	byProgram = index(func(t tool) []string { return t.programs })
)

func index(names func(tool) []string) map[string]int {
	places := map[string]int{}
	for i, t := range table {
		for _, name := range names(t) {
			places[name] = i
		}
	}
	return places
}

// toolOf knows software by its program's file, or a script by its name among the first arguments, as of
// "/usr/bin/python3 /usr/bin/cloud-init init"; nil: it does not.
func toolOf(executable string, arguments []string) *tool {
	if strings.HasPrefix(executable, "/opt/datadog-agent/") {
		return &table[byProgram["datadog-agent"]]
	}
	candidates := []string{executable}
	for _, a := range arguments[:min(len(arguments), 3)] {
		if strings.HasPrefix(a, "/") || strings.HasPrefix(a, "./") || a == firstOf(arguments) {
			candidates = append(candidates, a)
		}
	}
	for _, c := range candidates {
		if i, ok := byProgram[path.Base(c)]; ok {
			return &table[i]
		}
	}
	return nil
}

// firstWord is the first argument that is no option: the script of an interpreter.
func firstWord(arguments []string) string {
	for _, a := range arguments[min(len(arguments), 1):] {
		if !strings.HasPrefix(a, "-") {
			return a
		}
	}
	return ""
}

func firstOf(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
