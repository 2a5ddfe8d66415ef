package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// Diff says what Apply would do, by server-side dry run, and writes nothing. An object whose kind or namespace does not exist yet
// would be created. Drift names fields; values of Secrets are never in it.
func (c *Client) Diff(ctx context.Context, objs []*unstructured.Unstructured, o ApplyOptions) ([]Applied, error) {
	out := make([]Applied, len(objs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i, obj := range objs {
		g.Go(func() (err error) {
			out[i], err = c.diffOne(ctx, obj, o)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

func (c *Client) diffOne(ctx context.Context, obj *unstructured.Unstructured, o ApplyOptions) (Applied, error) {
	ref := RefOf(obj)
	absent := func(ref ObjectRef, obj *unstructured.Unstructured) Applied {
		return Applied{Ref: ref, Object: obj, Change: steps.Change{Kind: ref.ChangeKind(), Name: ref.ID(), Action: reconcile.Create}}
	}
	api, placed, err := c.place(obj, o)
	if HasCode(err, CodeKindNotServed) {
		return absent(ref, obj), nil
	}
	if err != nil {
		return Applied{}, err
	}
	ref = RefOf(placed)
	live, err := api.Get(ctx, placed.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return absent(ref, placed), nil
	}
	if err != nil {
		return Applied{}, fmt.Errorf("%s: %w", ref, Explain(err))
	}
	if err := o.foreign(live); err != nil {
		return Applied{}, fmt.Errorf("%s: %w", ref, err)
	}
	wanted, err := patchApply(ctx, api, placed, true)
	if err != nil {
		return Applied{}, fmt.Errorf("%s: dry run: %w", ref, err)
	}
	change := steps.Change{Kind: ref.ChangeKind(), Name: ref.ID(), ID: string(live.GetUID()), Action: reconcile.Keep}
	if change.Fields, change.Drift = Differ(live, wanted); len(change.Drift) > 0 {
		change.Action = reconcile.Update
	}
	return Applied{Ref: ref, Change: change, Object: wanted}, nil
}

// Differ lists the fields in which live differs from wanted, bookkeeping of the API server aside; lines say the same to people.
func Differ(live, wanted *unstructured.Unstructured) (fields []reconcile.FieldChange, lines []string) {
	d := differ{secret: live.GetKind() == "Secret"}
	d.compare("", content(live), content(wanted))
	return d.fields, d.lines
}

func content(o *unstructured.Unstructured) map[string]any {
	m := o.DeepCopy().Object
	delete(m, "status")
	for _, f := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"} {
		unstructured.RemoveNestedField(m, "metadata", f)
	}
	return m
}

type differ struct {
	secret bool
	fields []reconcile.FieldChange
	lines  []string
}

func (d *differ) compare(path string, have, want any) {
	if reflect.DeepEqual(have, want) {
		return
	}
	hm, ok1 := have.(map[string]any)
	wm, ok2 := want.(map[string]any)
	if ok1 && ok2 {
		keys := maps.Clone(hm)
		maps.Copy(keys, wm)
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			d.compare(path+"."+k, hm[k], wm[k])
		}
		return
	}
	hs, ok1 := have.([]any)
	ws, ok2 := want.([]any)
	if ok1 && ok2 && len(hs) == len(ws) {
		for i := range hs {
			d.compare(path+"["+strconv.Itoa(i)+"]", hs[i], ws[i])
		}
		return
	}
	if len(path) > 0 && path[0] == '.' {
		path = path[1:]
	}
	if d.secret {
		d.fields, d.lines = append(d.fields, reconcile.FieldChange{Path: path, Hidden: true}), append(d.lines, path+": differs")
		return
	}
	f := reconcile.FieldChange{Path: path, Before: have, After: want}
	if long(have) || long(want) {
		f.Before, f.After, f.Long = nil, nil, true
	}
	d.fields, d.lines = append(d.fields, f), append(d.lines, path+": have "+short(have)+", want "+short(want))
}

// longest is how long a value in a plan may be as JSON: a plan travels in results and logs, and a field may hold a file.
const longest = 4096

// long reports a value that is left out, all of it: of a part nobody could tell whether it holds a piece of a secret.
func long(v any) bool {
	raw, err := json.Marshal(v)
	return err != nil || len(raw) > longest
}

// short is a value as JSON, cut to what fits a line.
func short(v any) string {
	if v == nil {
		return "nothing"
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if runes := []rune(string(raw)); len(runes) > 80 {
		return string(runes[:77]) + "..."
	}
	return string(raw)
}
