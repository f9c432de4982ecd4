package main

import (
	"cmp"
	"os"
	"path/filepath"

	"github.com/openimds/openimds/server"
)

// location is where a control API is.
type location struct {
	url string
	// ca has the certificates to know it by; empty: AWS's settings or the system's.
	ca string
	// file has said so; empty: the settings have, or it is the usual address.
	file string
}

// location is where the control API is: where --endpoint or AWS's variable says, else where the server of the data
// directory listened after its last start, for the keys are of that directory, too.
func (c *clientConfig) location() location {
	if named := cmp.Or(c.endpoint, os.Getenv("AWS_ENDPOINT_URL_LIGHTSAIL")); named != "" {
		return location{url: named}
	}
	usual := location{url: "http://" + defaultAPIListen}
	dir := c.dataDir
	if file := os.Getenv("AWS_SHARED_CREDENTIALS_FILE"); dir == "" && server.RegionBeside(file) != "" {
		dir = filepath.Dir(file)
	}
	dir, err := dataDirOr(dir)
	if err != nil {
		return usual
	}
	last, ok := server.LastAccess(dir)
	if !ok {
		return usual
	}
	return location{url: last.API, ca: last.CA, file: filepath.Join(dir, server.EndpointsFile)}
}
