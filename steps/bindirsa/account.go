package bindirsa

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pipectl.dev/cloud/owned"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// Annotations of a bound service account. The first is what EKS's webhook reads; the others are how we find our own work again.
const (
	roleAnnotation = "eks.amazonaws.com/role-arn"
	madeAnnotation = "pipectl.dev/created"
	pastAnnotation = "pipectl.dev/previous-role-arn" // what the first one said before us, to put back
	podAnnotation  = "pipectl.dev/bound-role"        // on pod templates: the role that their pods started with
)

// account binds one service account. It carries no managed-by label: an add-on or chart that brings the same object sets its own.
func (s *state) account(a ServiceAccount) resource {
	return resource{
		Kind: kindAccount, Name: a.String(), Needs: []string{s.roleID()},
		Observe: func(ctx context.Context, s *state) (status, error) {
			have, err := s.kube.Typed.CoreV1().ServiceAccounts(a.Namespace).Get(ctx, a.Name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return status{}, nil
			}
			if err != nil {
				return status{}, kube.Explain(err)
			}
			var d owned.Drift
			if s.spec.PodIdentity {
				s.annotationLeft(&d, a, have)
				return status{Exists: true, Ready: true, ID: string(have.UID), Drift: d}, nil
			}
			want := s.roleARN
			if want == "" {
				want = "the role's ARN"
			}
			d.Mend(roleAnnotation, have.Annotations[roleAnnotation], want)
			return status{Exists: true, Ready: true, ID: string(have.UID), Drift: d}, nil
		},
		Create: func(ctx context.Context, s *state) error { return s.createAccount(ctx, a) },
		Update: func(ctx context.Context, s *state, _ []string) error { return s.bindAccount(ctx, a) },
	}
}

// annotationLeft takes an annotation of IRSA that is ours for drift. One of others is told: SDKs heed it first.
func (s *state) annotationLeft(d *owned.Drift, a ServiceAccount, have *corev1.ServiceAccount) {
	role := have.Annotations[roleAnnotation]
	if role != "" && have.Annotations[kube.IdentityAnnotation] == s.owner {
		d.Mend(roleAnnotation, role, "none")
	} else if role != "" {
		s.annotated(a, role)
	}
}

func (s *state) annotated(a ServiceAccount, role string) {
	s.remark("service account " + a.String() + " is annotated with " + role + " by others; its pods take that role, not the one of Pod Identity, until the annotation is gone")
}

// bindAccount annotates a service account that is there, and keeps what another tool had written.
func (s *state) bindAccount(ctx context.Context, a ServiceAccount) error {
	have, err := s.kube.Typed.CoreV1().ServiceAccounts(a.Namespace).Get(ctx, a.Name, metav1.GetOptions{})
	if err != nil {
		return kube.Explain(err)
	}
	if s.spec.PodIdentity {
		if have.Annotations[kube.IdentityAnnotation] != s.owner {
			return nil
		}
		var past any
		if p := have.Annotations[pastAnnotation]; p != "" {
			past = p
		}
		return s.annotate(ctx, a, map[string]any{roleAnnotation: past, pastAnnotation: nil})
	}
	notes := map[string]any{roleAnnotation: s.roleARN, kube.IdentityAnnotation: s.owner}
	if past := have.Annotations[roleAnnotation]; past != "" && have.Annotations[kube.IdentityAnnotation] != s.owner {
		notes[pastAnnotation] = past
	}
	return s.annotate(ctx, a, notes)
}

func (s *state) createAccount(ctx context.Context, a ServiceAccount) error {
	if a.Create != nil && !*a.Create {
		return &steps.Error{Code: "NoServiceAccount", Category: steps.Precondition, Message: "service account " + a.String() + " does not exist",
			Hints: []string{"set create: true, or run the stage that brings it first (needs)"}}
	}
	if _, err := s.kube.EnsureNamespace(ctx, a.Namespace, s.env.Identity); err != nil {
		return err
	}
	obj := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: a.Name, Namespace: a.Namespace, Annotations: map[string]string{
		roleAnnotation: s.roleARN, kube.IdentityAnnotation: s.owner, madeAnnotation: "true",
	}}}
	if s.spec.PodIdentity {
		delete(obj.Annotations, roleAnnotation)
	}
	_, err := s.kube.Typed.CoreV1().ServiceAccounts(a.Namespace).Create(ctx, obj, metav1.CreateOptions{FieldManager: kube.FieldManager})
	if apierrors.IsAlreadyExists(err) { // somebody was faster; bind theirs
		return s.bindAccount(ctx, a)
	}
	if err == nil {
		s.env.Note("service account " + a.String() + " was not there; it was made, for the add-on or chart that brings it to take over")
	}
	return kube.Explain(err)
}

// annotate sets annotations; a nil value takes one away.
func (s *state) annotate(ctx context.Context, a ServiceAccount, notes map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": notes}})
	if err != nil {
		return err
	}
	_, err = s.kube.Typed.CoreV1().ServiceAccounts(a.Namespace).Patch(ctx, a.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: kube.FieldManager})
	return kube.Explain(err)
}

// unbind takes back what was put on the service accounts, and removes those that we made and nobody else has adopted since.
func (s *state) unbind(ctx context.Context) error {
	for _, a := range s.spec.ServiceAccounts {
		if a.Wildcard {
			continue
		}
		api := s.kube.Typed.CoreV1().ServiceAccounts(a.Namespace)
		have, err := api.Get(ctx, a.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || (err == nil && have.Annotations[kube.IdentityAnnotation] != s.owner) {
			continue
		}
		if err != nil {
			return kube.Explain(err)
		}
		if have.Annotations[madeAnnotation] == "true" && onlyOurs(have) {
			err = api.Delete(ctx, a.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &have.UID}})
			if err != nil && !apierrors.IsNotFound(err) {
				return kube.Explain(err)
			}
			continue
		}
		notes := map[string]any{roleAnnotation: nil, madeAnnotation: nil, pastAnnotation: nil}
		if !applied(have) {
			notes[kube.IdentityAnnotation] = nil
		}
		if past := have.Annotations[pastAnnotation]; past != "" {
			notes[roleAnnotation] = past
		}
		if err := s.annotate(ctx, a, notes); err != nil {
			return err
		}
	}
	return nil
}

// onlyOurs reports a service account that nobody but this step has written.
func onlyOurs(obj *corev1.ServiceAccount) bool {
	for _, m := range obj.ManagedFields {
		if m.Manager != kube.FieldManager {
			return false
		}
	}
	return !applied(obj)
}

// applied reports one that a stage of the pipeline applies from a manifest: the object and its owner annotation are of that stage then.
func applied(obj *corev1.ServiceAccount) bool {
	return slices.ContainsFunc(obj.ManagedFields, func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager == kube.FieldManager && m.Operation == metav1.ManagedFieldsOperationApply
	})
}

// workload is something whose pods can be restarted.
type workload struct{ namespace, kind, name string }

func parseWorkload(text string) (workload, error) {
	parts := strings.Split(text, "/")
	if len(parts) == 3 && parts[0] != "" && parts[2] != "" {
		switch parts[1] {
		case "deployment", "statefulset", "daemonset":
			return workload{parts[0], parts[1], parts[2]}, nil
		}
	}
	return workload{}, fmt.Errorf("expected namespace/deployment/name (or statefulset, daemonset), got %q", text)
}

// restarted lets pods that started before the binding start anew: they get a role only when they start. The pod template says which role
// its pods started with, so a run that was cut off in between restarts them later, and nothing is restarted twice.
func (s *state) restarted(text string, needs []string) resource {
	w, _ := parseWorkload(text) // Validate has seen to it
	return resource{
		Kind: kindRestart, Name: text, Needs: needs,
		Observe: func(ctx context.Context, s *state) (status, error) {
			notes, err := s.podNotes(ctx, w)
			if apierrors.IsNotFound(err) {
				return status{}, nil
			}
			return status{Exists: s.roleARN != "" && notes[podAnnotation] == s.startedWith(), Ready: true}, kube.Explain(err)
		},
		Create: func(ctx context.Context, s *state) error {
			err := s.startAnew(ctx, w)
			if apierrors.IsNotFound(err) {
				return &steps.Error{Code: "NoWorkload", Category: steps.Precondition, Message: "it does not exist", Hints: []string{"correct `restart`, or leave it out: pods that start later get the role by themselves"}}
			}
			return kube.Explain(err)
		},
	}
}

// startedWith is the role as pods got it: by the other way they must start anew, even with the same role.
func (s *state) startedWith() string {
	if s.spec.PodIdentity {
		return s.roleARN + " by Pod Identity"
	}
	return s.roleARN
}

func (s *state) podNotes(ctx context.Context, w workload) (map[string]string, error) {
	apps, o := s.kube.Typed.AppsV1(), metav1.GetOptions{}
	switch w.kind {
	case "deployment":
		x, err := apps.Deployments(w.namespace).Get(ctx, w.name, o)
		if err != nil {
			return nil, err
		}
		return x.Spec.Template.Annotations, nil
	case "statefulset":
		x, err := apps.StatefulSets(w.namespace).Get(ctx, w.name, o)
		if err != nil {
			return nil, err
		}
		return x.Spec.Template.Annotations, nil
	default:
		x, err := apps.DaemonSets(w.namespace).Get(ctx, w.name, o)
		if err != nil {
			return nil, err
		}
		return x.Spec.Template.Annotations, nil
	}
}

func (s *state) startAnew(ctx context.Context, w workload) error {
	patch := fmt.Appendf(nil, `{"spec":{"template":{"metadata":{"annotations":{%q:%q}}}}}`, podAnnotation, s.startedWith())
	apps, o := s.kube.Typed.AppsV1(), metav1.PatchOptions{FieldManager: kube.FieldManager}
	var err error
	switch w.kind {
	case "deployment":
		_, err = apps.Deployments(w.namespace).Patch(ctx, w.name, types.MergePatchType, patch, o)
	case "statefulset":
		_, err = apps.StatefulSets(w.namespace).Patch(ctx, w.name, types.MergePatchType, patch, o)
	default:
		_, err = apps.DaemonSets(w.namespace).Patch(ctx, w.name, types.MergePatchType, patch, o)
	}
	return err
}
