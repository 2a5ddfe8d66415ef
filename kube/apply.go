package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// ApplyOptions tunes Apply and Diff.
type ApplyOptions struct {
	Namespace string                   // of namespaced objects that name none
	Report    func(reconcile.Progress) // Start and Done of each object; called from several goroutines; nil: silent
	Retry     time.Duration            // how long a kind or namespace that is still coming is waited for; zero: 30 s
	Owner     *steps.Identity          // nil: whoever; else objects are stamped as ours, and one of another identity is refused
}

// Applied is what became, or would become, of one object.
type Applied struct {
	Ref    ObjectRef
	Change steps.Change
	Object *unstructured.Unstructured // as stored now; of Diff: as it would be
}

// Apply brings objects to what the manifests say by server-side apply under our field manager: namespaces first, then definitions
// (waited for until they are served), then the rest in parallel, webhooks last. The results are in the order of objs.
//
// Fields that other managers own are never taken: that is CodeFieldConflict. The one exception is what pipectl itself wrote by patch,
// such as the replicas of something it paused.
func (c *Client) Apply(ctx context.Context, objs []*unstructured.Unstructured, o ApplyOptions) ([]Applied, error) {
	out := make([]Applied, len(objs))
	for _, wave := range waves(objs) {
		g, inner := errgroup.WithContext(ctx)
		g.SetLimit(8)
		for _, i := range wave {
			g.Go(func() (err error) {
				out[i], err = c.applyOne(inner, objs[i], o)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		if err := c.established(ctx, out, wave); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *Client) applyOne(ctx context.Context, obj *unstructured.Unstructured, o ApplyOptions) (Applied, error) {
	ref := RefOf(obj)
	began := time.Now()
	change := steps.Change{Kind: ref.ChangeKind(), Name: ref.ID(), Action: reconcile.Update}
	say := func(p reconcile.Phase, err error) {
		if o.Report != nil {
			o.Report(reconcile.Progress{Change: change, Phase: p, Elapsed: time.Since(began), Err: err})
		}
	}
	var done *unstructured.Unstructured
	err := c.patiently(ctx, o, func() error {
		api, placed, err := c.place(obj, o)
		if err != nil {
			return err
		}
		ref = RefOf(placed)
		change.Name = ref.ID()
		live, err := api.Get(ctx, placed.GetName(), metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			change.Action = reconcile.Create
		case err != nil:
			return Explain(err)
		}
		if err := o.foreign(live); err != nil {
			return err
		}
		if done, err = patchApply(ctx, api, placed, false); err != nil {
			return err
		}
		if live != nil && change.Action == reconcile.Update && live.GetResourceVersion() == done.GetResourceVersion() {
			change.Action = reconcile.Keep
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("%s: apply: %w", ref, err)
		say(reconcile.Failed, err)
		return Applied{}, err
	}
	change.ID = string(done.GetUID())
	if change.Action != reconcile.Keep {
		say(reconcile.Start, nil)
	}
	say(reconcile.Done, nil)
	return Applied{Ref: ref, Change: change, Object: done}, nil
}

// place finds the client for obj and fills in the namespace of a namespaced object that names none.
func (c *Client) place(obj *unstructured.Unstructured, o ApplyOptions) (dynamic.ResourceInterface, *unstructured.Unstructured, error) {
	placed := obj.DeepCopy()
	ref := RefOf(obj)
	if ref.Namespace == "" {
		ref.Namespace = cmp.Or(o.Namespace, metav1.NamespaceDefault)
	}
	api, namespaced, err := c.Resource(ref)
	if err != nil {
		return nil, nil, err
	}
	placed.SetNamespace("")
	if namespaced {
		placed.SetNamespace(ref.Namespace)
	}
	if o.Owner != nil {
		Stamp(placed, *o.Owner)
	}
	return api, placed, nil
}

// foreign refuses an object that another identity applied: server-side apply would not, since the manager is the same.
func (o ApplyOptions) foreign(live *unstructured.Unstructured) error {
	if o.Owner == nil || live == nil {
		return nil
	}
	other := live.GetAnnotations()[IdentityAnnotation]
	if other == "" || other == o.Owner.String() {
		return nil
	}
	return &steps.Error{Code: "NotOurs", Category: steps.Conflict, Message: fmt.Sprintf("belongs to pipeline %q", other),
		Hints: []string{"let that pipeline alone apply it, or remove its annotation " + IdentityAnnotation}}
}

// patchApply sends one server-side apply, a second time by force when all that stands against it was written by ourselves.
func patchApply(ctx context.Context, api dynamic.ResourceInterface, obj *unstructured.Unstructured, dryRun bool) (*unstructured.Unstructured, error) {
	o := metav1.ApplyOptions{FieldManager: FieldManager}
	if dryRun {
		o.DryRun = []string{metav1.DryRunAll}
	}
	done, err := api.Apply(ctx, obj.GetName(), obj, o)
	if onlyOurs(err) {
		o.Force = true
		done, err = api.Apply(ctx, obj.GetName(), obj, o)
	}
	return done, Explain(err)
}

// patiently tries again while what an object needs is still coming: its kind, its namespace, a webhook that is just starting.
func (c *Client) patiently(ctx context.Context, o ApplyOptions, try func() error) error {
	patience := o.Retry
	if patience == 0 {
		patience = 30 * time.Second
	}
	began := time.Now()
	for {
		err := try()
		coming := meta.IsNoMatchError(err) || IsNotFound(err) || HasCode(err, CodeClusterUnreachable) || HasCode(err, CodeConflict)
		if err == nil || !coming || time.Since(began) > patience {
			return err
		}
		pause := time.NewTimer(500 * time.Millisecond)
		select {
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		case <-pause.C:
		}
	}
}

// waves orders objects: what others live in or are kinds of comes first, what judges others last.
func waves(objs []*unstructured.Unstructured) [][]int {
	rank := func(o *unstructured.Unstructured) int {
		switch o.GroupVersionKind().GroupKind().String() {
		case "Namespace":
			return 0
		case "CustomResourceDefinition.apiextensions.k8s.io":
			return 1
		case "ValidatingWebhookConfiguration.admissionregistration.k8s.io", "MutatingWebhookConfiguration.admissionregistration.k8s.io",
			"APIService.apiregistration.k8s.io":
			return 4
		case "ServiceAccount", "Secret", "ConfigMap", "PriorityClass.scheduling.k8s.io", "StorageClass.storage.k8s.io", "PersistentVolume",
			"Role.rbac.authorization.k8s.io", "ClusterRole.rbac.authorization.k8s.io",
			"RoleBinding.rbac.authorization.k8s.io", "ClusterRoleBinding.rbac.authorization.k8s.io":
			return 2
		default:
			return 3
		}
	}
	out := make([][]int, 5)
	for i, o := range objs {
		out[rank(o)] = append(out[rank(o)], i)
	}
	return slices.DeleteFunc(out, func(w []int) bool { return len(w) == 0 })
}

// established waits until the definitions of a wave are served, and forgets what we knew of the API before.
func (c *Client) established(ctx context.Context, applied []Applied, wave []int) error {
	var defs []ObjectRef
	for _, i := range wave {
		if applied[i].Ref.Kind == "CustomResourceDefinition" {
			defs = append(defs, applied[i].Ref)
		}
	}
	if len(defs) == 0 {
		return nil
	}
	err := c.WaitHealthy(ctx, defs, WaitOptions{Timeout: time.Minute})
	c.Mapper.Reset()
	return err
}
