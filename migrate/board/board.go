// Package board tells how far instances are from IMDSv1 to v2 to who looks at a server's page, as "openimds migrate" tells it:
// the same verdicts and the same report, made of the same operations, which it calls as whoever asked.
package board

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/migrate"
	"github.com/openimds/openimds/safefile"
)

// Config is what a [Board] works with.
type Config struct {
	// Protocol has the operations that are called, of one region.
	Protocol api.Protocol
	Region   string
	Account  string
	// Refused and Timeout are as in [api.Config]; Timeout is of each operation that is called.
	Refused api.Refused
	Timeout time.Duration
	Log     *slog.Logger
	// Scratch is the directory of files that reports are made in, and that are gone with them. No other process makes any there.
	Scratch string
}

// Board is of one region. It is safe for use by many goroutines.
type Board struct {
	api     *client.Client
	p       migrate.OpenIMDS
	region  string
	scratch string // as of [safefile.Create]
	drafts  drafts
}

// New makes a board, which is to be closed.
func New(cfg Config) (*Board, error) {
	handler := api.New(api.Config{
		Protocols: []api.Protocol{cfg.Protocol}, Auth: asker{}, Account: cfg.Account, Refused: cfg.Refused, Timeout: cfg.Timeout, Log: cfg.Log,
	})
	// Requests are signed because a client signs; asker asks for another proof.
	nobody := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "inside", SecretAccessKey: "inside"}, nil
	})
	c, err := client.New(client.Config{
		Endpoint: "http://localhost/", Region: cfg.Region, Credentials: nobody, HTTP: &http.Client{Transport: inside{handler, make(chan struct{}, 2)}}, Attempts: 1,
	})
	if err != nil {
		return nil, err
	}
	b := &Board{api: c, p: migrate.NewOpenIMDS(c), region: cfg.Region, scratch: filepath.Join(cfg.Scratch, "report"), drafts: drafts{kept: unasked}}
	safefile.Sweep(b.scratch)
	return b, nil
}

// Verdicts judges instances by their names, those left out that are not there, by what is known of a window up to now.
func (b *Board) Verdicts(ctx context.Context, who sigv4.Identity, names []string, window time.Duration) ([]wire.MigrationVerdict, error) {
	ctx = withAsker(ctx, who)
	criteria := migrate.DefaultCriteria()
	criteria.Window = window
	var all []migrate.Instance
	for _, name := range names {
		in, err := b.p.Named(ctx, name)
		if errors.Is(err, migrate.ErrGone) {
			continue
		}
		if err != nil {
			return nil, worded(ctx, err)
		}
		all = append(all, in)
	}
	told := []wire.MigrationVerdict{}
	for _, a := range migrate.Status(ctx, b.p, all, criteria, time.Now()) {
		told = append(told, verdict(a))
	}
	if err := ctx.Err(); err != nil {
		return nil, worded(ctx, err)
	}
	return told, nil
}

func verdict(a migrate.Assessment) wire.MigrationVerdict {
	v := wire.MigrationVerdict{
		InstanceName: a.Name, Verdict: string(a.Verdict), Reason: a.Reason, NoToken: a.NoToken, Rejected: a.Rejected, MissingSeconds: int(a.Missing / time.Second),
	}
	if !a.Since.IsZero() {
		v.KnownSince, v.KnownUntil = awsjson.At(a.Since), awsjson.At(a.Until)
	}
	return v
}

// worded is a failure as who asked is told of it: what an operation refused is said as it said it.
func worded(ctx context.Context, err error) error {
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.Status < http.StatusInternalServerError {
		return openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "%s", refused.Message).Because(err)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return openimds.Errorf(openimds.OperationFailure, openimds.TooMany, "That takes longer than a page waits: ask 'openimds migrate status', or for fewer instances").Because(err)
	}
	return err
}
