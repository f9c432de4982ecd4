package hostdoor

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/metadata"
)

// How long a request waits for its turn to have documents signed, and how long it signs then: less than it may take in
// all, so that what is signed is answered. Of the rest the host asks again.
const (
	turnTime = callTime / 2
	signTime = callTime / 4
)

// sign signs the documents that this replica makes of its own records: a host can have nothing else signed.
func (c *call) sign(ctx context.Context) (any, error) {
	var q hostlink.SignRequest
	if err := read(c.body, &q); err != nil {
		return nil, err
	}
	if err := cmp.Or(items(len(q.Instances), hostlink.MaxSigned), names(q.Instances, itself)); err != nil {
		return nil, err
	}
	h, err := c.hosted(q.Of)
	if err != nil {
		return nil, err
	}
	var own []*openimds.Instance
	var others []string
	for _, name := range q.Instances {
		in, err := h.Instance(ctx, name)
		switch {
		case errors.Is(err, control.ErrNotServed):
			others = append(others, name)
		case err != nil:
			return nil, err
		default:
			own = append(own, in)
		}
	}
	c.others(others)
	d := c.door
	// One request at a time, so that hosts leave the processors to others. If the turns went round by documents, the
	// requests of many hosts would all be half done when their time is over.
	turn := time.NewTimer(d.turnTime)
	defer turn.Stop()
	select {
	case d.signing <- struct{}{}:
		defer func() { <-d.signing }()
	case <-turn.C:
		return nil, errSlow // and not that the replica is away: the others would have the crowd next
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := h.Enrolled(ctx); err != nil {
		return nil, err
	}
	answer := hostlink.SignAnswer{Keys: d.cfg.Signer.Keys()}
	limits := d.limitsOf(c.host.Name)
	for began := time.Now(); len(answer.Signed) < len(own); {
		if n := len(answer.Signed); n > 0 && (time.Since(began) >= d.signTime || ctx.Err() != nil) {
			break
		}
		if !limits.signs.Allow() {
			break
		}
		answer.Signed = append(answer.Signed, d.signed(own[len(answer.Signed)]))
	}
	answer.More = len(answer.Signed) < len(own)
	if answer.More && len(answer.Signed) == 0 {
		return nil, errSlow
	}
	return answer, nil
}

var errSlow = refusal{http.StatusTooManyRequests, hostlink.CodeSlowDown, "too many documents; ask again in a moment"}

// signed signs one document.
func (d *Door) signed(in *openimds.Instance) hostlink.Signed {
	document := metadata.IdentityDocument(in)
	sum := sha256.Sum256(document)
	s := hostlink.Signed{ID: in.ID, Document: sum[:]}
	s.Signature, _ = d.cfg.Signer.Signature(in, document)
	s.PKCS7, _ = d.cfg.Signer.PKCS7(in, document)
	s.RSA2048, _ = d.cfg.Signer.RSA2048(in, document)
	d.cfg.Signer.Forget(in.ID) // the host keeps them
	return s
}
