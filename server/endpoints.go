package server

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/openimds/openimds/safefile"
)

// EndpointsFile says where the server of a data directory is reached on this machine. It stays when the server ends:
// without it a client would ask at the usual address, where another server may be that has the same keys.
const EndpointsFile = "endpoints"

// reached is what [EndpointsFile] has: members of an [Access].
type reached struct {
	IMDS string `json:"imds"`
	API  string `json:"api"`
	CA   string `json:"ca,omitempty"`
}

// writeEndpoints has the clients of this machine find the server by its data directory.
func (s *Server) writeEndpoints() error {
	at := reached{
		IMDS: "http://" + reachable(s.IMDSAddrs()[0].String()) + "/",
		API:  "http://" + reachable(s.APIAddrs()[0].String()),
	}
	if s.certificates != nil {
		at.API = s.APIURL()
		var err error
		if at.CA, err = s.cfg.caFile(s.certificates.Leaf()); err != nil {
			return err
		}
	}
	text, err := json.Marshal(at)
	if err != nil {
		return err
	}
	if err := safefile.Write(filepath.Join(s.cfg.DataDir, EndpointsFile), append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot write the server's addresses to the data directory: %w", err)
	}
	return nil
}

// maxHint is how many bytes a file has that says where or what a server is.
const maxHint = 64 << 10

// LastAccess is where the server that has this data directory was reached after its last start: IMDS, API and CA of an
// [Access]. It may not run any more. False: none has said so.
func LastAccess(dataDir string) (Access, bool) {
	text, _, err := safefile.Read(filepath.Join(dataDir, EndpointsFile), maxHint)
	if err != nil {
		return Access{}, false
	}
	var at reached
	if err := json.Unmarshal(text, &at); err != nil || at.API == "" || at.IMDS == "" {
		return Access{}, false
	}
	return Access{IMDS: at.IMDS, API: at.API, CA: at.CA}, true
}
