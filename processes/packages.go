package processes

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// packageOf is the package that a file of the machine is of; empty: of none, or no database of packages is there. It
// is not known if the context ended the search: thousands of lists take their time, and a stop does not wait for them.
func (n *Namer) packageOf(ctx context.Context, path string) (found string, known bool) {
	path = strings.TrimSuffix(path, " (deleted)")
	if !strings.HasPrefix(path, "/") {
		return "", true
	}
	if found, ok := n.packages.get(path); ok {
		return found, true
	}
	for _, search := range []func(context.Context, string) string{n.dpkg, n.apk, n.rpm} {
		if ctx.Err() != nil { // asked before: to list a directory of thousands takes its time, too
			break
		}
		if found = search(ctx, path); found != "" {
			break
		}
	}
	if found == "" && ctx.Err() != nil {
		return "", false
	}
	n.packages.put(path, found)
	return found, true
}

// aliases are the ways in which a database may write a path: systems that have moved /bin to /usr/bin
// have packages from before.
func aliases(path string) []string {
	if rest, ok := strings.CutPrefix(path, "/usr/"); ok {
		return []string{path, "/" + rest}
	}
	return []string{path, "/usr" + path}
}

// dpkg looks through the lists of files of Debian's packages, and finds the version in its status.
func (n *Namer) dpkg(ctx context.Context, path string) string {
	lists, _ := filepath.Glob(n.file("/var/lib/dpkg/info/*.list"))
	wanted := aliases(path)
	for _, list := range lists {
		if ctx.Err() != nil {
			return ""
		}
		if !hasLine(list, wanted) {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(list), ".list")
		bare, architecture, _ := strings.Cut(name, ":")
		if version := n.dpkgVersion(bare, architecture); version != "" {
			return bare + " " + version
		}
		return bare
	}
	return ""
}

// hasLine reads a list as a whole: packages have thousands of files, and there are thousands of lists.
func hasLine(file string, wanted []string) bool {
	text, err := readUpTo(file, 16<<20)
	if err != nil {
		return false
	}
	for _, w := range wanted {
		for at := 0; ; {
			found := bytes.Index(text[at:], []byte(w))
			if found < 0 {
				break
			}
			from, to := at+found, at+found+len(w)
			if (from == 0 || text[from-1] == '\n') && (to == len(text) || text[to] == '\n') {
				return true
			}
			at = to
		}
	}
	return false
}

func (n *Namer) dpkgVersion(name, architecture string) (version string) {
	here, of := false, ""
	eachLine(n.file("/var/lib/dpkg/status"), func(line string) bool {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "Package":
			here = value == name
		case "Architecture":
			of = value
		case "Version":
			if here && (architecture == "" || of == architecture) {
				version = value
			}
		}
		return version == ""
	})
	return version
}

// apk reads Alpine's database: of each package the lines P (name), V (version), F (a directory) and R (a
// file in it); an empty line ends it.
func (n *Namer) apk(ctx context.Context, path string) (found string) {
	for _, database := range []string{"/lib/apk/db/installed", "/usr/lib/apk/db/installed"} {
		var name, version, dir string
		wanted := aliases(path)
		eachLine(n.file(database), func(line string) bool {
			key, value, _ := strings.Cut(line, ":")
			switch key {
			case "P":
				name = value
			case "V":
				version = value
			case "F":
				dir = value
			case "R":
				for _, w := range wanted {
					if w == "/"+dir+"/"+value || dir == "" && w == "/"+value {
						found = name + " " + version
					}
				}
			}
			return found == "" && ctx.Err() == nil
		})
		if found != "" {
			return found
		}
	}
	return ""
}

// rpm asks rpm itself: its database has had three forms, of which the machine's own program knows which it is.
func (n *Namer) rpm(ctx context.Context, path string) string {
	if n.root != "/" {
		return ""
	}
	program := ""
	for _, at := range []string{"/usr/bin/rpm", "/bin/rpm"} {
		if _, err := os.Stat(at); err == nil {
			program = at
			break
		}
	}
	if program == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, engineWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-qf", "--qf", "%{NAME} %{VERSION}-%{RELEASE}\n", "--", path)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

// eachLine passes the lines of a file on until the function says that it has enough. Lines of more than
// 64 KiB end it: there are none.
func eachLine(file string, line func(string) bool) {
	f, err := os.Open(file)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() && line(lines.Text()) {
	}
}
