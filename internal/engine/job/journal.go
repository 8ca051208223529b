package job

import (
	"context"
	"errors"
	"time"

	"github.com/droveway/droveway"
	"github.com/droveway/droveway/internal/engine/store"
)

// journalWait is how long to wait before an unavailable store is tried again.
const journalWait = 200 * time.Millisecond

// journal keeps one job's record in the store, for as long as token is the
// newest that has written it.
type journal struct {
	table store.Table[Record]
	name  string
	token uint64
	rev   uint64
}

// openJournal reads a record and writes it back with our token, so that whoever
// had it before can write it no more.
func openJournal(ctx context.Context, table store.Table[Record], name string, token uint64) (*journal, *Record, error) {
	rec, rev, err := table.Get(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	j := &journal{table: table, name: name, token: token, rev: rev}
	if rec.Job.State.Ended() {
		return j, &rec, nil
	}
	err = j.Save(ctx, &rec)
	if errors.Is(err, ErrCancelled) {
		err = j.Save(ctx, &rec)
	}
	return j, &rec, err
}

// Save implements Journal. A store that does not answer is asked until ctx ends.
func (j *journal) Save(ctx context.Context, rec *Record) error {
	rec.Token = j.token
	rec.Job.Updated = time.Now().UTC()
	for {
		rev, err := j.table.Put(ctx, j.name, *rec, j.rev)
		switch {
		case err == nil:
			j.rev = rev
			return nil
		case droveway.Is(err, droveway.Conflict):
			err = j.catchUp(ctx, rec)
			if err != nil && !droveway.Is(err, droveway.Unavailable) {
				return err
			}
		case !droveway.Is(err, droveway.Unavailable):
			return err
		}
		if err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(journalWait):
		}
	}
}

// catchUp finds out who wrote the record since: a cancel, an Amend, a later owner,
// or ourselves in a write whose acknowledgement was lost. The arguments and the
// number of cancels are never the owner's to change.
func (j *journal) catchUp(ctx context.Context, rec *Record) error {
	now, rev, err := j.table.Get(ctx, j.name)
	switch {
	case err != nil:
		return err
	case now.Token > j.token:
		return droveway.Errorf(droveway.Conflict, "job %s has another owner now", j.name)
	}
	j.rev, rec.Job.Args = rev, now.Job.Args
	// One that the owner has heard of may be there still, if it is being taken back.
	if now.Cancels > rec.Cancels {
		rec.Cancels, rec.Job.Cancel = now.Cancels, true
		return ErrCancelled
	}
	return nil
}
