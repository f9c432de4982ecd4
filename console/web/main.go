// Command web bundles the console's page into ../dist: script and style with hashed names, and the page
// that loads them. It is a module of its own so that openimds depends on no bundler.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

func main() {
	dist := flag.String("o", "../dist", "where the bundle goes; what is there is replaced")
	flag.Parse()
	if err := build(*dist); err != nil {
		fmt.Fprintln(os.Stderr, "console:", err)
		os.Exit(1)
	}
}

// build makes the bundle from the sources in the working directory and their npm packages.
func build(dist string) error {
	if _, err := os.Stat("node_modules/preact"); err != nil {
		return fmt.Errorf("the npm packages are not there; run 'npm ci' in console/web: %w", err)
	}
	if err := os.RemoveAll(dist); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dist, "assets"), 0o755); err != nil {
		return err
	}
	files, err := bundled()
	if err != nil {
		return err
	}
	page := strings.Replace(pageTemplate, "{chunks}", preloads(files), 1)
	for _, file := range files {
		name := filepath.Base(file.Path)
		page = strings.ReplaceAll(page, "{"+unhashed(name)+"}", "/console/assets/"+name)
		if err := os.WriteFile(filepath.Join(dist, "assets", name), file.Contents, 0o644); err != nil {
			return err
		}
	}
	if strings.Contains(page, "{") {
		return fmt.Errorf("the page names what was not bundled:\n%s", page)
	}
	return os.WriteFile(filepath.Join(dist, "index.html"), []byte(page), 0o644)
}

// preloads has the page fetch what its script begins with as soon as the script itself, and not behind it.
func preloads(files []api.OutputFile) string {
	var app string
	for _, file := range files {
		if unhashed(filepath.Base(file.Path)) == "app.js" {
			app = string(file.Contents)
		}
	}
	links := ""
	for _, file := range files {
		if name := filepath.Base(file.Path); strings.HasPrefix(name, "chunk.") && strings.Contains(app, name) {
			links += "<link rel=\"modulepreload\" href=\"/console/assets/" + name + "\">\n"
		}
	}
	return links
}

// unhashed is a file's name without the hash of its content: "app.js" of "app.ABCDEFGH.js".
func unhashed(name string) string {
	first, rest, _ := strings.Cut(name, ".")
	_, ext, _ := strings.Cut(rest, ".")
	return first + "." + ext
}

// pageTemplate names no script of its own and no style: the policy that it is served with forbids both. Until the
// script has run, it shows what the page begins with.
const pageTemplate = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>openimds</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" type="image/svg+xml" href="{icon.svg}">
<link rel="stylesheet" href="{app.css}">
{chunks}<script type="module" src="{app.js}"></script>
</head>
<body>
<div id="app"><header class="bar"><span class="mark"><span class="glyph" aria-hidden="true"></span>openimds</span></header></div>
<noscript>The console needs JavaScript. Everything it shows and changes, the openimds command does too: openimds --help.</noscript>
</body>
</html>
`

// bundled has the files of the bundle. The names have their contents' hash in them, so that browsers may
// keep the files for ever; what draws graphs is a file of its own, which no page waits for.
func bundled() ([]api.OutputFile, error) {
	result := api.Build(api.BuildOptions{
		EntryPoints: []string{"src/app.tsx", "src/icon.svg"}, Outdir: "assets", Bundle: true, Splitting: true,
		EntryNames: "[name].[hash]", ChunkNames: "[name].[hash]", Loader: map[string]api.Loader{".svg": api.LoaderCopy},
		MinifyWhitespace: true, MinifyIdentifiers: true, MinifySyntax: true,
		Format: api.FormatESModule, Target: api.ES2022, Charset: api.CharsetUTF8,
		JSX: api.JSXAutomatic, JSXImportSource: "preact", LegalComments: api.LegalCommentsEndOfFile,
		LogLevel: api.LogLevelWarning,
	})
	if len(result.Errors) > 0 {
		return nil, fmt.Errorf("%d errors in the sources, told above", len(result.Errors))
	}
	return result.OutputFiles, nil
}
