// Command nethttp gives constant answers by net/http, with nothing around it: what a metadata
// service in Go costs at least when it is a plain http.Handler.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
)

func main() {
	answers := flag.String("answers", "", "`directory` of the answers, one raw HTTP response a file")
	ready := flag.String("ready-file", "", "`file` to write the address to")
	flag.Parse()
	log.SetFlags(0)
	log.SetPrefix("nethttp: ")
	log.Fatal(run(*answers, *ready))
}

func run(answers, ready string) error {
	put, err := constant(filepath.Join(answers, "PUT"))
	if err != nil {
		return err
	}
	get, err := constant(filepath.Join(answers, "GET"))
	if err != nil {
		return err
	}
	session, err := constant(filepath.Join(answers, "GET-session"))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut:
			put(w)
		case r.Header.Get("X-Aws-Ec2-Metadata-Token") != "":
			session(w)
		default:
			get(w)
		}
	})}
	server.SetKeepAlivesEnabled(false)
	if err := os.WriteFile(ready+".tmp", []byte("imds="+l.Addr().String()+"\n"), 0o644); err != nil {
		return err
	}
	if err := os.Rename(ready+".tmp", ready); err != nil {
		return err
	}
	return server.Serve(l)
}

// constant makes a handler of a raw response.
func constant(file string) (func(http.ResponseWriter), error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Header.Del("Date") // net/http sends the present one
	resp.Header.Del("Connection")
	return func(w http.ResponseWriter) {
		for name, values := range resp.Header {
			w.Header()[name] = values
		}
		_, _ = w.Write(body)
	}, nil
}
