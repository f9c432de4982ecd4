package console

import (
	"bytes"
	"compress/gzip"
	"embed"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

//go:embed dist
var embedded embed.FS

// content is the page with all that it loads, as it was built.
func content() fs.FS {
	dist, _ := fs.Sub(embedded, "dist") // it is there
	return dist
}

// assets is where a page finds what it loads. Names there change with the content, so that browsers may keep it.
const assets = "assets/"

// page serves files that never change while the program runs.
type page struct{ files map[string]*file }

// file is one of them.
type file struct {
	kind  string // its content type
	plain []byte
	// packed is the content as gzip, made when it is first asked for.
	packed func() []byte
}

// kinds are the content types of what a page loads.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
}

// newPage reads a page, which has index.html.
func newPage(dist fs.FS) *page {
	p := &page{files: map[string]*file{}}
	_ = fs.WalkDir(dist, ".", func(name string, e fs.DirEntry, err error) error {
		kind := kinds[path.Ext(name)]
		if err != nil || e.IsDir() || kind == "" {
			return err
		}
		text, err := fs.ReadFile(dist, name)
		p.files[name] = &file{kind, text, sync.OnceValue(func() []byte { return pack(text) })}
		return err
	})
	return p
}

func pack(text []byte) []byte {
	var packed bytes.Buffer
	w, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	_, _ = w.Write(text) // in memory
	_ = w.Close()
	return packed.Bytes()
}

// serve answers with a file. Whatever is the page's own to show, a deep link, is its index: the names of what there is to be
// seen may have dots, but the files that browsers ask for unasked lie beside the index.
func (p *page) serve(w http.ResponseWriter, r *http.Request, name string) {
	if !method(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	found := p.files[name]
	loaded := strings.HasPrefix(name+"/", assets)
	deep := !loaded && (strings.Contains(name, "/") || !strings.Contains(name, "."))
	switch {
	case found == nil && deep:
		found = p.files["index.html"]
	case found == nil:
		missing(w)
		return
	}
	h := w.Header()
	if loaded {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Set("Content-Type", found.kind)
	h.Set("Vary", "Accept-Encoding")
	text := found.plain
	if takesGzip(r) {
		text = found.packed()
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write(text) // who has gone does not read it
}

// takesGzip says whether a client asks for gzip.
func takesGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(strings.Join(r.Header["Accept-Encoding"], ","), ",") {
		coding, weight, _ := strings.Cut(strings.ReplaceAll(part, " ", ""), ";")
		if strings.EqualFold(coding, "gzip") {
			return strings.Trim(strings.TrimPrefix(strings.ToLower(weight), "q="), "0.") != "" || weight == ""
		}
	}
	return false
}
