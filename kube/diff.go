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
	if change.Drift = Drift(live, wanted); len(change.Drift) > 0 {
		change.Action = reconcile.Update
	}
	return Applied{Ref: ref, Change: change, Object: wanted}, nil
}

// Drift lists the fields in which live differs from wanted, bookkeeping of the API server aside.
func Drift(live, wanted *unstructured.Unstructured) []string {
	d := differ{secret: live.GetKind() == "Secret"}
	d.compare("", content(live), content(wanted))
	return d.out
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
	out    []string
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
		d.out = append(d.out, path+": differs")
		return
	}
	d.out = append(d.out, path+": have "+short(have)+", want "+short(want))
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
