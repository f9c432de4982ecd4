package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// connect begins a connection from a guest to the metadata service; the file's first write waits for it.
func (b *bench) connect(g *guest) (*os.File, error) {
	fd := -1
	err := b.visitor.in(g.ns, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{169, 254, 169, 254}, Port: 80})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("connect: %w", err)
	}
	return os.NewFile(uintptr(fd), "guest"), nil
}

// answer is what a guest was answered.
type answer struct {
	status string // "200"
	body   []byte
}

// ask sends one request from a guest, over a connection of its own, and reads the answer to its end.
func (b *bench) ask(g *guest, patience time.Duration, method, path string, headers ...string) (answer, error) {
	c, err := b.connect(g)
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	return converse(c, patience, method, path, headers...)
}

func converse(c *os.File, patience time.Duration, method, path string, headers ...string) (answer, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return answer{}, err
	}
	request := []byte(method + " " + path + " HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: Cloud-Init/22.4.2\r\n")
	for _, h := range headers {
		request = append(append(request, h...), "\r\n"...)
	}
	if _, err := c.Write(append(request, "\r\n"...)); err != nil {
		return answer{}, err
	}
	text, err := io.ReadAll(c)
	if err != nil {
		return answer{}, err
	}
	head, body, ok := bytes.Cut(text, []byte("\r\n\r\n"))
	if !ok || len(head) < len("HTTP/1.1 200") {
		return answer{}, fmt.Errorf("%s %s: no answer but %.80q", method, path, text)
	}
	return answer{status: string(head[9:12]), body: body}, nil
}
