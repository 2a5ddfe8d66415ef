package results

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// ConfigMap is a store in one ConfigMap: STAGE.json per stage, beside it STAGE.OUTPUT for each output as plain text, for workloads that
// take it by configMapKeyRef or as a file; _run.ID.ndjson per run. Sensitive outputs are in a Secret of the same name and "-sensitive".
//
// Every write names the resourceVersion that was read, so of two writers none undoes the other; the loser reads and writes again.
type ConfigMap struct {
	place   Place
	owner   Owner
	public  record
	secrets record
	limit   int
}

// record is an object of the API server. Functions and not the client: a store is held as an interface, and the linker keeps all it can
// reach from there.
type record struct {
	where string
	read  func(ctx context.Context) (kube.Record, error)
	write func(ctx context.Context, r kube.Record, changes map[string]*string) (kube.Record, error)
	ours  func(data map[string]string) bool // by its content, where it was there before and is not labelled
}

const (
	// configMapLimit is what Kubernetes takes: 1 MiB over all values.
	configMapLimit = 1 << 20
	// configMapRuns is how many runs keep their journal: more than ever run at once, at some 2 KB each.
	configMapRuns = 50
	runKey        = "_run."
	runKeyEnd     = ".ndjson"
	resultKeyEnd  = ".json"
	secretSuffix  = "-sensitive"
)

// NewConfigMap returns the store in the ConfigMap that p names. It is made when the first result is written; its namespace must exist.
func NewConfigMap(client *kube.Client, p Place, owner Owner, id steps.Identity) *ConfigMap {
	c := &ConfigMap{place: p, owner: owner, limit: configMapLimit}
	c.public = record{
		where: c.Where(""), ours: ours,
		read: func(ctx context.Context) (kube.Record, error) {
			return client.ReadRecord(ctx, p.Namespace, p.ConfigMap)
		},
		write: func(ctx context.Context, r kube.Record, changes map[string]*string) (kube.Record, error) {
			return client.WriteRecord(ctx, r, changes, id)
		},
	}
	name := p.ConfigMap + secretSuffix
	c.secrets = record{
		where: "secret " + p.Namespace + "/" + name, ours: func(map[string]string) bool { return false },
		read: func(ctx context.Context) (kube.Record, error) { return client.ReadSecretRecord(ctx, p.Namespace, name) },
		write: func(ctx context.Context, r kube.Record, changes map[string]*string) (kube.Record, error) {
			return client.WriteSecretRecord(ctx, r, changes, id)
		},
	}
	return c
}

// Where implements engine.Store.
func (c *ConfigMap) Where(stage string) string {
	where := "configmap://" + c.place.Namespace + "/" + c.place.ConfigMap
	if stage == "" {
		return where
	}
	return where + "#" + stage + resultKeyEnd
}

// look reads the object. One that holds what is not ours is refused: its keys could be anybody's.
func (o record) look(ctx context.Context) (kube.Record, error) {
	r, err := o.read(ctx)
	if err == nil && r.Labels[kube.ManagedByLabel] != kube.FieldManager && len(r.Data) > 0 && !o.ours(r.Data) {
		err = &steps.Error{Code: ForeignResult, Category: steps.Conflict, Message: o.where + ": holds data that pipectl did not write",
			Hints: []string{"choose another name by --results; an empty object may be there before"}}
	}
	return r, err
}

// ours tells by its content a ConfigMap that was empty before we first wrote to it.
func ours(data map[string]string) bool {
	for k, v := range data {
		var doc struct{ Kind string }
		if strings.HasPrefix(k, runKey) || strings.HasSuffix(k, resultKeyEnd) && json.Unmarshal([]byte(v), &doc) == nil && doc.Kind == "StageResult" {
			return true
		}
	}
	return false
}

// change reads, lets f say what to write, and writes, again when somebody else wrote in between. No changes is no write.
func (c *ConfigMap) change(ctx context.Context, f func(kube.Record) (map[string]*string, error)) error {
	return c.changing(ctx, c.public, f)
}

func (c *ConfigMap) changing(ctx context.Context, o record, f func(kube.Record) (map[string]*string, error)) error {
	for attempt := 0; ; attempt++ {
		r, err := o.look(ctx)
		if err != nil {
			return err
		}
		changes, err := f(r)
		if err != nil || len(changes) == 0 {
			return err
		}
		if err = fit(o.where, c.limit, r.Data, changes); err != nil {
			return err
		}
		_, err = o.write(ctx, r, changes)
		switch {
		case err == nil:
			return nil
		case kube.IsNotFound(err) && r.Version == "":
			return &steps.Error{Code: "NoNamespace", Category: steps.Precondition, Message: o.where + ": namespace " + c.place.Namespace + " does not exist", Err: err,
				Hints: []string{"create the namespace first (Argo CD: syncOptions CreateNamespace=true)"}}
		case !kube.HasCode(err, kube.CodeConflict) && !kube.IsNotFound(err):
			return err
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// pause is a wait of random length, so that writers that met do not meet again, the longer the oftener they did: of forty hooks that begin
// at once each finds its gap.
func pause(ctx context.Context, attempt int) error {
	t := time.NewTimer(5*time.Millisecond + rand.N(20*time.Millisecond<<min(attempt, 5)))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// fit makes room by dropping the journals of the oldest runs, and refuses what has no room even then.
func fit(where string, limit int, data map[string]string, changes map[string]*string) error {
	next := maps.Clone(data)
	if next == nil {
		next = map[string]string{}
	}
	for k, v := range changes {
		if v == nil {
			delete(next, k)
		} else {
			next[k] = *v
		}
	}
	size := 0
	for _, v := range next {
		size += len(v)
	}
	var old []string
	for k := range next {
		if strings.HasPrefix(k, runKey) && changes[k] == nil {
			old = append(old, k)
		}
	}
	slices.Sort(old)
	for _, k := range old {
		if size <= limit {
			return nil
		}
		size -= len(next[k])
		delete(next, k)
		changes[k] = nil
	}
	if size <= limit {
		return nil
	}
	largest := slices.MaxFunc(slices.Collect(maps.Keys(next)), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(next[a]), len(next[b])), strings.Compare(a, b))
	})
	return &steps.Error{Code: "ResultTooLarge", Category: steps.Precondition,
		Message: fmt.Sprintf("%s: would hold %d bytes, Kubernetes takes %d; the largest is %s with %d bytes", where, size, limit, largest, len(next[largest])),
		Hints:   []string{"keep results in a bucket (--results s3://BUCKET/PREFIX) or a directory, or split the pipeline and give each part its own ConfigMap"}}
}

// Get implements engine.Store.
func (c *ConfigMap) Get(ctx context.Context, stage string) (*steps.Result, error) {
	r, err := c.public.look(ctx)
	if err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	return c.result(r, stage)
}

func (c *ConfigMap) result(r kube.Record, stage string) (*steps.Result, error) {
	raw, ok := r.Data[stage+resultKeyEnd]
	if !ok {
		return nil, nil
	}
	return Decode(c.Where(stage), []byte(raw), c.owner, stage)
}

// Put implements engine.Store.
func (c *ConfigMap) Put(ctx context.Context, r steps.Result) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("results: %s: %w", r.Stage, err)
	}
	plain, err := plainOutputs(r)
	if err != nil {
		return fmt.Errorf("results: %s: %w", r.Stage, err)
	}
	err = c.change(ctx, func(now kube.Record) (map[string]*string, error) {
		if _, err := c.result(now, r.Stage); hasCode(err, ForeignResult) {
			return nil, err
		}
		text := string(raw)
		changes := map[string]*string{r.Stage + resultKeyEnd: &text}
		if r.Outputs == nil && r.Status != steps.Destroyed {
			return changes, nil // a failed run takes nothing away from who lives on the last good one
		}
		for k := range now.Data {
			if strings.HasPrefix(k, r.Stage+".") && k != r.Stage+resultKeyEnd {
				changes[k] = nil
			}
		}
		for k, v := range plain {
			changes[k] = &v
		}
		return changes, nil
	})
	if err != nil {
		return fmt.Errorf("results: %w", err)
	}
	return nil
}

// plainOutputs are the outputs as STAGE.NAME: text: strings as they are, all else as JSON.
func plainOutputs(r steps.Result) (map[string]string, error) {
	var outputs map[string]json.RawMessage
	if len(r.Outputs) > 0 && r.Status != steps.Destroyed {
		if err := json.Unmarshal(r.Outputs, &outputs); err != nil {
			return nil, fmt.Errorf("outputs: %w", err)
		}
	}
	out := map[string]string{}
	for name, raw := range outputs {
		var ref steps.Reference
		if json.Unmarshal(raw, &ref) == nil && ref.Sensitive != "" {
			continue // it is in the Secret
		}
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw)
		}
		if key := r.Stage + "." + name; key != r.Stage+resultKeyEnd {
			out[key] = text
		}
	}
	return out, nil
}

// List implements engine.Store.
func (c *ConfigMap) List(ctx context.Context) ([]steps.Result, error) {
	r, err := c.public.look(ctx)
	if err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	var stages []string
	for k := range r.Data {
		if stage, ok := strings.CutSuffix(k, resultKeyEnd); ok && !strings.Contains(stage, ".") {
			stages = append(stages, stage)
		}
	}
	return collect(stages, func(stage string) (*steps.Result, error) { return c.result(r, stage) })
}

// Append implements engine.Store. The journals of the oldest runs go when there are too many.
func (c *ConfigMap) Append(ctx context.Context, runID string, line []byte) error {
	key := runKey + runID + runKeyEnd
	err := c.change(ctx, func(now kube.Record) (map[string]*string, error) {
		text := now.Data[key] + string(line) + "\n"
		changes := map[string]*string{key: &text}
		if _, known := now.Data[key]; !known {
			runs := runsOf(slices.Collect(maps.Keys(now.Data)), runKey)
			for _, old := range runs[:max(0, len(runs)+1-configMapRuns)] {
				changes[runKey+old+runKeyEnd] = nil
			}
		}
		return changes, nil
	})
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// Journal implements engine.Store.
func (c *ConfigMap) Journal(ctx context.Context, runID string) ([][]byte, error) {
	r, err := c.public.look(ctx)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return wholeLines([]byte(r.Data[runKey+runID+runKeyEnd])), nil
}

// Runs implements engine.Store.
func (c *ConfigMap) Runs(ctx context.Context) ([]string, error) {
	r, err := c.public.look(ctx)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	return runsOf(slices.Collect(maps.Keys(r.Data)), runKey), nil
}
