package server_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/openimds/openimds/server"
)

// A whole server in this process, asked as its guests ask.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cfg := server.Defaults()
	cfg.DataDir = dir
	cfg.IMDSListen, cfg.APIListen = []string{"127.0.0.1:0"}, "127.0.0.1:0" // ports that are free

	ctx, stop := context.WithCancel(context.Background())
	s, err := server.Open(ctx, cfg)
	if err != nil {
		panic(err)
	}
	defer s.Close()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()

	answer, err := http.Get("http://" + s.IMDSAddrs()[0].String() + "/latest/meta-data/services/domain")
	if err != nil {
		panic(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, _ := io.ReadAll(answer.Body)
	fmt.Printf("%s: %s\n", s.Instance().Name, text)

	stop()
	fmt.Println(<-ended)
	// Output:
	// demo: amazonaws.com
	// <nil>
}
