package board

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/attest"
	"github.com/openimds/openimds/migrate"
	"github.com/openimds/openimds/migrate/report"
	"github.com/openimds/openimds/safefile"
)

// body is a report without its signature, in a file.
type body struct {
	file   *safefile.File
	size   int64
	digest string
}

func (b *body) discard() {
	if b.file != nil {
		b.file.Discard()
	}
}

// write makes a report. What is found of each instance goes to a file, and from there to another one as it is written down, so
// that instances take little memory.
func (b *Board) write(ctx context.Context, d *draft, by *report.Installation) error {
	in := report.Input{Provider: b.p, Source: report.OpenIMDS{API: b.api}, Installation: by, Criteria: migrate.DefaultCriteria(), Now: time.Now()}
	var err error
	if in.Instances, err = b.p.Instances(ctx); err != nil {
		return err
	}
	d.all.Store(int64(len(in.Instances)))
	found, err := safefile.Create(b.scratch, 0o600)
	if err != nil {
		return err
	}
	defer found.Discard()
	made := report.Begin(in)
	d.at = made.At
	out := bufio.NewWriter(&bounded{w: found})
	encoder := json.NewEncoder(out)
	err = in.Each(ctx, made, func(one report.Instance) error {
		d.judged.Add(1)
		return encoder.Encode(one)
	})
	if err = errors.Join(err, out.Flush()); err != nil {
		return err
	}
	if d.file, err = safefile.Create(b.scratch, 0o600); err != nil {
		return err
	}
	sum := sha256.New()
	whole := &bounded{w: io.MultiWriter(d.file, sum)}
	out = bufio.NewWriter(whole)
	writeDown := made.WriteHTML
	if d.form == wire.ReportJSON {
		writeDown = made.WriteJSON
	}
	err = writeDown(out, func(pass func(report.Instance) error) error {
		decoder := json.NewDecoder(bufio.NewReader(io.NewSectionReader(found, 0, attest.MaxFile)))
		for {
			var one report.Instance
			switch err := decoder.Decode(&one); {
			case err == io.EOF:
				return ctx.Err()
			case err != nil:
				return err
			}
			if err := pass(one); err != nil {
				return err
			}
		}
	})
	if err = errors.Join(err, out.Flush()); err != nil {
		return err
	}
	d.size, d.digest = whole.size, hex.EncodeToString(sum.Sum(nil))
	return nil
}

// bounded writes no more than whoever verifies a report reads, with some room for the signature.
type bounded struct {
	w    io.Writer
	size int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.size += int64(len(p)); b.size > attest.MaxFile-4096 {
		return 0, openimds.Errorf(openimds.OperationFailure, openimds.TooLarge,
			"The report would have more than %d MiB, and nobody would verify it: 'openimds migrate report NAME…' makes one of fewer instances", attest.MaxFile>>20)
	}
	return b.w.Write(p)
}
