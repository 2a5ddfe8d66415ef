package bindirsa

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// Annotations of a bound service account. The first is what EKS's webhook reads; the others are how we find our own work again.
const (
	roleAnnotation = "eks.amazonaws.com/role-arn"
	madeAnnotation = "pipectl.dev/created"
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
			st := status{Exists: true, Ready: true, ID: string(have.UID)}
			if arn := have.Annotations[roleAnnotation]; s.roleARN == "" || arn != s.roleARN {
				st.Drift = []string{fmt.Sprintf("%s: have %q, want %q", roleAnnotation, arn, s.roleARN)}
			}
			return st, nil
		},
		Create: func(ctx context.Context, s *state) error { return s.createAccount(ctx, a) },
		Update: func(ctx context.Context, s *state, _ []string) error {
			s.annotated.Store(true)
			return s.annotate(ctx, a, map[string]any{roleAnnotation: s.roleARN, kube.IdentityAnnotation: s.owner})
		},
	}
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
	_, err := s.kube.Typed.CoreV1().ServiceAccounts(a.Namespace).Create(ctx, obj, metav1.CreateOptions{FieldManager: kube.FieldManager})
	if apierrors.IsAlreadyExists(err) { // somebody was faster; bind theirs
		return s.annotate(ctx, a, map[string]any{roleAnnotation: s.roleARN, kube.IdentityAnnotation: s.owner})
	}
	s.annotated.Store(true)
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
		if err := s.annotate(ctx, a, map[string]any{roleAnnotation: nil, kube.IdentityAnnotation: nil, madeAnnotation: nil}); err != nil {
			return err
		}
	}
	return nil
}

func onlyOurs(obj *corev1.ServiceAccount) bool {
	for _, m := range obj.ManagedFields {
		if m.Manager != kube.FieldManager {
			return false
		}
	}
	return true
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

// restart lets pods that were there before the binding start anew, as `kubectl rollout restart` does.
func (s *state) restart(ctx context.Context) error {
	if !s.annotated.Load() {
		return nil
	}
	patch := fmt.Appendf(nil, `{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, time.Now().UTC().Format(time.RFC3339))
	opts := metav1.PatchOptions{FieldManager: kube.FieldManager}
	for _, text := range s.spec.Restart {
		w, err := parseWorkload(text)
		if err != nil {
			return err
		}
		apps := s.kube.Typed.AppsV1()
		switch w.kind {
		case "deployment":
			_, err = apps.Deployments(w.namespace).Patch(ctx, w.name, types.StrategicMergePatchType, patch, opts)
		case "statefulset":
			_, err = apps.StatefulSets(w.namespace).Patch(ctx, w.name, types.StrategicMergePatchType, patch, opts)
		case "daemonset":
			_, err = apps.DaemonSets(w.namespace).Patch(ctx, w.name, types.StrategicMergePatchType, patch, opts)
		}
		if err != nil {
			return fmt.Errorf("restart %s: %w", text, kube.Explain(err))
		}
	}
	return nil
}
