package clients

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const web = "../console/web"

// TestBundle: the committed bundle of the console is what its sources make, to the byte, and the types of the
// sources hold.
func TestBundle(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(filepath.Join(web, "node_modules", "preact")); err != nil {
		t.Skip("the console's npm packages are not installed: run 'npm ci' in console/web")
	}
	t.Run("types", func(t *testing.T) {
		t.Parallel()
		need(t, "node")
		check := exec.Command("node", filepath.Join("node_modules", "typescript", "bin", "tsc"))
		check.Dir = web
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("tsc: %v\n%s", err, out)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		t.Parallel()
		download := exec.Command("go", "mod", "download")
		download.Dir = web
		if out, err := download.CombinedOutput(); err != nil {
			t.Skipf("esbuild cannot be downloaded: %s", out)
		}
		anew := filepath.Join(t.TempDir(), "dist")
		bundle := exec.Command("go", "run", ".", "-o", anew)
		bundle.Dir = web
		if out, err := bundle.CombinedOutput(); err != nil {
			t.Fatalf("bundling failed: %v\n%s", err, out)
		}
		sameFiles(t, anew, "../console/dist")
	})
}

// sameFiles holds two directories against each other.
func sameFiles(t *testing.T, want, got string) {
	t.Helper()
	wanted, there := filesOf(t, want), filesOf(t, got)
	for name, text := range wanted {
		if !bytes.Equal(text, there[name]) {
			t.Errorf("console/dist/%s is not what console/web makes: run 'make console'", name)
		}
	}
	for name := range there {
		if wanted[name] == nil {
			t.Errorf("console/dist/%s is of an earlier bundle: run 'make console'", name)
		}
	}
}

func filesOf(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		files[name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("there is nothing in %s", dir)
	}
	return files
}
