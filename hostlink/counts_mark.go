package hostlink

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/openimds/openimds/store"
)

// anotherMark is the mark as it is now, and whether the replicas are to be told of it.
func (c *Counts) anotherMark(ctx context.Context) (mark Counted, another bool, err error) {
	about, _ := c.About()
	switch {
	case c.engine && about.EngineMarks:
		mark = Counted{c.EngineMark, c.Untold()}
	case c.engine || !about.Marks:
		c.marked = nil // who takes it then does not have it
		return mark, false, nil
	default:
		mark.Key = c.Mark
		r, err := c.Store.Get(ctx, c.Mark)
		if err != nil && !errors.Is(err, store.ErrNoRecord) {
			return mark, false, err
		}
		mark.Value = r.Value
	}
	return mark, c.marked == nil || c.marked.Key != mark.Key || !bytes.Equal(c.marked.Value, mark.Value), nil
}

// tellMark has a replica keep a mark. One that does not, as an earlier release, is told again, and is a failure.
func (c *Counts) tellMark(ctx context.Context, mark Counted) error {
	c.marked = nil
	refused, err := c.ask(ctx, mark)
	if err == nil && len(refused) > 0 {
		err = fmt.Errorf("a replica does not keep how far this host has told what it counts (%s)", mark.Key)
	}
	if err == nil {
		c.marked = &mark
	}
	return err
}

// Told has the replicas know, once Run has ended, that the engine that they ask has been told all that this host counted.
func (c *Counts) Told(ctx context.Context) error {
	if about, _ := c.About(); !c.engine || !about.EngineMarks {
		return nil
	}
	return c.tellMark(ctx, Counted{Key: c.EngineMark})
}
