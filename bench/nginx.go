package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
)

// startNginx starts nginx with openimds' answers as constants, each on a port of its own. deferred
// has it hold connections back until their request is there, as openimds does.
func (b *bench) startNginx(ctx context.Context, core int, deferred bool) (*server, error) {
	s := &server{name: "nginx", addrs: map[string]string{}}
	option := ""
	if deferred {
		s.name, option = "nginx, deferred", " deferred"
	}
	dir, err := os.MkdirTemp(b.dir, "nginx-")
	if err != nil {
		return nil, err
	}
	workers := 1
	if core == anyCore {
		workers = 2
	}
	var conf strings.Builder
	if os.Geteuid() == 0 {
		conf.WriteString("user root;\n") // else the workers become a user that cannot reach the directory
	}
	fmt.Fprintf(&conf, "daemon off;\nworker_processes %d;\npid %s/pid;\nevents { worker_connections 4096; }\nhttp {\n", workers, dir)
	fmt.Fprintf(&conf, "\taccess_log off;\n\tkeepalive_timeout 0;\n\tserver_tokens off;\n\tdefault_type text/plain;\n")
	for _, temp := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&conf, "\t%s_temp_path %s/%s;\n", temp, dir, temp)
	}
	for _, sc := range scenarios() {
		addr, err := freeAddress()
		if err != nil {
			return nil, err
		}
		s.addrs[sc.file] = addr
		answer, err := nginxAnswer(b.answers[sc.file])
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&conf, "\tserver {\n\t\tlisten %s%s;\n\t\tlocation = %s {\n%s\t\t}\n\t}\n", addr, option, sc.path, answer)
	}
	conf.WriteString("}\n")
	file := dir + "/nginx.conf"
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		return nil, err
	}
	if s.process, err = startProcess(ctx, core, "nginx", "-p", dir, "-c", file, "-e", "stderr"); err != nil {
		return nil, err
	}
	return s, s.process.waitFor(ctx, func() bool {
		c, err := net.Dial("tcp", s.addrs["PUT"])
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// nginxAnswer makes the lines of a location that gives a raw answer. Date, Server (whose value is as
// long as openimds'), Connection, Content-Length and Content-Type nginx adds by itself.
func nginxAnswer(raw []byte) (string, error) {
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	var lines strings.Builder
	for name, values := range resp.Header {
		switch name {
		case "Date", "Server", "Connection", "Content-Length", "Content-Type":
		default:
			fmt.Fprintf(&lines, "\t\t\tadd_header %s %q;\n", name, values[0])
		}
	}
	fmt.Fprintf(&lines, "\t\t\treturn 200 %q;\n", body)
	return lines.String(), nil
}

// freeAddress finds an address that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
