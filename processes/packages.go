package processes

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tree is a file system that has a database of packages.
type tree interface {
	// open opens a file, which is read from its beginning.
	open(path string) (io.ReadCloser, error)
	// names are those of the files of a directory, in any order; none: there is no such directory.
	names(dir string) []string
	// fail takes note that something was not read in whole, and returns why; nil: it was.
	fail(error) error
}

// machineFiles is the tree of the machine's own files.
type machineFiles struct{ root string }

func (m machineFiles) open(path string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(m.root, path))
}

func (m machineFiles) names(dir string) (names []string) {
	entries, _ := os.ReadDir(filepath.Join(m.root, dir))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// fail is of [tree]: what cannot be read of the machine's own files is as good as not there.
func (machineFiles) fail(err error) error { return err }

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
	here := machineFiles{n.root}
	for _, search := range []func(context.Context) string{
		func(ctx context.Context) string { return dpkg(ctx, here, path) },
		func(ctx context.Context) string { return apk(ctx, here, path) },
		func(ctx context.Context) string { return n.rpm(ctx, path) },
	} {
		if ctx.Err() != nil { // asked before: to list a directory of thousands takes its time, too
			break
		}
		if found = search(ctx); found != "" {
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

const dpkgInfo = "/var/lib/dpkg/info"

// dpkg looks through the lists of files of Debian's packages, and finds the version in its status.
func dpkg(ctx context.Context, t tree, path string) string {
	wanted := aliases(path)
	for _, list := range t.names(dpkgInfo) {
		name, isList := strings.CutSuffix(list, ".list")
		if !isList {
			continue
		}
		if ctx.Err() != nil {
			return ""
		}
		if !hasLine(t, dpkgInfo+"/"+list, wanted) {
			continue
		}
		bare, architecture, _ := strings.Cut(name, ":")
		if version := dpkgVersion(t, bare, architecture); version != "" {
			return bare + " " + version
		}
		return bare
	}
	return ""
}

// mostList is how long a list of files may be.
const mostList = 16 << 20

var errTooLong = errors.New("it is too long")

// hasLine reads a list as a whole: packages have thousands of files, and there are thousands of lists.
func hasLine(t tree, file string, wanted []string) bool {
	f, err := t.open(file)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, mostList))
	if err == nil && len(text) == mostList {
		err = errTooLong
	}
	if t.fail(err) != nil {
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

func dpkgVersion(t tree, name, architecture string) (version string) {
	here, of := false, ""
	eachLine(t, "/var/lib/dpkg/status", func(line string) bool {
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
func apk(ctx context.Context, t tree, path string) (found string) {
	for _, database := range []string{"/lib/apk/db/installed", "/usr/lib/apk/db/installed"} {
		var name, version, dir string
		wanted := aliases(path)
		eachLine(t, database, func(line string) bool {
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
func eachLine(t tree, file string, line func(string) bool) {
	f, err := t.open(file)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() && line(lines.Text()) {
	}
	_ = t.fail(lines.Err())
}
