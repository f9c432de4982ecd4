package console

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"time"

	"github.com/openimds/openimds/safefile"
)

// maxFile is more than any file of sessions has.
const maxFile = 4 << 20

// kept is a session as it stands in the file: nobody who reads that has the session.
type kept struct {
	ID    string    `json:"id"` // SHA-256 of the token
	Key   string    `json:"key"`
	Proof string    `json:"proof"`
	Begun time.Time `json:"begun"`
}

// load finds the sessions that an earlier process had. How long they were idle is not known any more, and begins anew.
func (s *Sessions) load() {
	if s.cfg.File == "" {
		return
	}
	safefile.Sweep(s.cfg.File)
	text, _, err := safefile.ReadPrivate(s.cfg.File, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var all []kept
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		s.cfg.Log.Warn("the console's sessions cannot be read: whoever was signed in has to sign in again", "error", err)
		return
	}
	now := s.cfg.Now()
	for _, k := range all {
		id, proof := digestOf(k.ID), digestOf(k.Proof)
		open := &session{keyID: k.Key, begun: k.Begun, used: now, over: make(chan struct{})}
		if id == nil || proof == nil || open.ended(now) {
			continue
		}
		open.proof = *proof
		s.open[*id] = open
	}
}

func digestOf(text string) *digest {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(digest{}) {
		return nil
	}
	return new(digest(raw))
}

// save has the file say what is open. Where it cannot, it says nothing: that a session is lost with the next restart is
// better than that one comes back which somebody has ended. s.mu is held.
func (s *Sessions) save() {
	if s.cfg.File == "" {
		return
	}
	all := make([]kept, 0, len(s.open))
	for id, open := range s.open {
		all = append(all, kept{hex.EncodeToString(id[:]), open.keyID, hex.EncodeToString(open.proof[:]), open.begun.UTC()})
	}
	text, err := json.Marshal(all)
	if err == nil {
		err = safefile.Write(s.cfg.File, append(text, '\n'), 0o600)
	}
	if err == nil {
		return
	}
	s.cfg.Log.Warn("the console's sessions cannot be kept: they end with the server", "error", err)
	if err := safefile.Clear(s.cfg.File); err != nil {
		s.cfg.Log.Error("the console's sessions that were kept cannot be taken away: who has signed out is signed in again after a restart", "error", err)
	}
}
