package results

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
)

// Bucket is a store in S3: PREFIX/STAGE.json per stage, PREFIX/runs/ID.ndjson per run, all encrypted.
//
// Every write is conditional on what was read (If-Match, If-None-Match), so of two writers none undoes the other; the loser reads and
// writes again.
type Bucket struct {
	place  Place
	owner  Owner
	bucket *cloud.Bucket
	limit  int // bytes of one object: what is larger is not read again
}

// bucketRuns is how many runs keep their journal; older ones go when a run begins.
const bucketRuns = 200

// NewBucket returns the store in the bucket and under the prefix that p names. The bucket must exist.
func NewBucket(s *cloud.Session, p Place, owner Owner) *Bucket {
	return &Bucket{place: p, owner: owner, bucket: s.Bucket(p.Bucket, p.KMSKey), limit: cloud.MaxObject}
}

func (b *Bucket) key(name string) string {
	if b.place.Prefix == "" {
		return name
	}
	return b.place.Prefix + "/" + name
}

// Where implements engine.Store.
func (b *Bucket) Where(stage string) string {
	if stage == "" {
		return strings.TrimSuffix("s3://"+b.place.Bucket+"/"+b.place.Prefix, "/")
	}
	return "s3://" + b.place.Bucket + "/" + b.key(stage+resultKeyEnd)
}

// explain adds what only this store knows to an error of S3.
func (b *Bucket) explain(what string, err error) error {
	if cloud.IsNoBucket(err) {
		err = &steps.Error{Code: "NoBucket", Category: steps.Precondition, Message: "s3: bucket " + b.place.Bucket + " does not exist", Err: err,
			Hints: []string{"make it (`aws s3 mb s3://" + b.place.Bucket + "`) or choose another place by --results"}}
	}
	return fmt.Errorf("%s: %s: %w", what, b.Where(""), cloud.Explain(err))
}

// read returns an object, nil when there is none.
func (b *Bucket) read(ctx context.Context, name string) (body []byte, etag string, err error) {
	body, etag, err = b.bucket.Get(ctx, b.key(name))
	if cloud.IsNotFound(err) {
		return nil, "", nil
	}
	return body, etag, err
}

// change reads an object, lets f say what it shall be, and writes it, again when somebody else wrote in between. When the answer to a
// write was lost, what is read the next time is what f wants already.
func (b *Bucket) change(ctx context.Context, name string, f func(old []byte) ([]byte, error)) error {
	for attempt, sent := 0, []byte(nil); ; attempt++ {
		old, etag, err := b.read(ctx, name)
		if err != nil {
			return err
		}
		if sent != nil && bytes.Equal(old, sent) {
			return nil
		}
		if sent, err = f(old); err != nil {
			return err
		}
		if len(sent) > b.limit {
			return &steps.Error{Code: "ResultTooLarge", Category: steps.Precondition, Message: fmt.Sprintf("%s would have %d bytes, at most %d are read again", name, len(sent), b.limit),
				Hints: []string{"leave what is so large in a file or an object of its own, and make its name the output"}}
		}
		if _, err = b.bucket.Put(ctx, b.key(name), sent, etag); !cloud.IsRaced(err) && !cloud.IsNotFound(err) {
			return err
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// Get implements engine.Store.
func (b *Bucket) Get(ctx context.Context, stage string) (*steps.Result, error) {
	raw, _, err := b.read(ctx, stage+resultKeyEnd)
	if err != nil {
		return nil, b.explain("results", err)
	}
	if raw == nil {
		return nil, nil
	}
	return Decode(b.Where(stage), raw, b.owner, stage)
}

// Put implements engine.Store.
func (b *Bucket) Put(ctx context.Context, r steps.Result) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("results: %s: %w", r.Stage, err)
	}
	err = b.change(ctx, r.Stage+resultKeyEnd, func(old []byte) ([]byte, error) {
		if old != nil {
			if _, err := Decode(b.Where(r.Stage), old, b.owner, r.Stage); hasCode(err, ForeignResult) {
				return nil, err
			}
		}
		return append(raw, '\n'), nil
	})
	if err != nil {
		return b.explain("results", err)
	}
	return nil
}

// names are the objects right under dir ("" or "runs/"), without the prefix.
func (b *Bucket) names(ctx context.Context, dir string) ([]string, error) {
	keys, err := b.bucket.List(ctx, b.key(dir))
	if err != nil {
		return nil, err
	}
	var out []string
	for _, k := range keys {
		if name := strings.TrimPrefix(k, b.key(dir)); !strings.Contains(name, "/") {
			out = append(out, name)
		}
	}
	return out, nil
}

// List implements engine.Store.
func (b *Bucket) List(ctx context.Context) ([]steps.Result, error) {
	names, err := b.names(ctx, "")
	if err != nil {
		return nil, b.explain("results", err)
	}
	var stages []string
	for _, n := range names {
		if stage, ok := strings.CutSuffix(n, resultKeyEnd); ok {
			stages = append(stages, stage)
		}
	}
	return collect(stages, func(stage string) (*steps.Result, error) { return b.Get(ctx, stage) })
}

// Append implements engine.Store. S3 cannot append: the journal is read and written as a whole, which its few lines allow.
func (b *Bucket) Append(ctx context.Context, runID string, line []byte) error {
	added, begins := append(bytes.Clone(line), '\n'), false
	err := b.change(ctx, journalName(runID), func(old []byte) ([]byte, error) {
		begins = old == nil
		return append(bytes.Clone(old), added...), nil
	})
	if err == nil && begins {
		err = b.sweep(ctx)
	}
	if err != nil {
		return b.explain("journal", err)
	}
	return nil
}

func journalName(runID string) string { return "runs/" + runID + runKeyEnd }

// sweep removes the journals of the oldest runs.
func (b *Bucket) sweep(ctx context.Context) error {
	runs, err := b.runs(ctx)
	if err != nil {
		return err
	}
	for _, old := range runs[:max(0, len(runs)-bucketRuns)] {
		if err := b.bucket.Delete(ctx, b.key(journalName(old))); err != nil {
			return err
		}
	}
	return nil
}

// Journal implements engine.Store.
func (b *Bucket) Journal(ctx context.Context, runID string) ([][]byte, error) {
	raw, _, err := b.read(ctx, journalName(runID))
	if err != nil {
		return nil, b.explain("journal", err)
	}
	return wholeLines(raw), nil
}

func (b *Bucket) runs(ctx context.Context) ([]string, error) {
	names, err := b.names(ctx, "runs/")
	if err != nil {
		return nil, err
	}
	return runsOf(names, ""), nil
}

// Runs implements engine.Store.
func (b *Bucket) Runs(ctx context.Context) ([]string, error) {
	runs, err := b.runs(ctx)
	if err != nil {
		return nil, b.explain("journal", err)
	}
	return runs, nil
}
