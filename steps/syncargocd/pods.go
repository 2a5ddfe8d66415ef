package syncargocd

import (
	"cmp"
	"slices"
	"sort"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"

	"pipectl.dev/kube"
)

// runsPods reports a kind of resource that has pods of its own.
func runsPods(r argo.ResourceStatus) bool {
	return r.Group == "apps" && slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"}, r.Kind) || r.Group == "batch" && r.Kind == "Job"
}

// inOrderOf sorts, so that what is reported is the same each time.
func inOrderOf(troubles []kube.Trouble) []kube.Trouble {
	sort.Slice(troubles, func(i, j int) bool {
		a, b := &troubles[i], &troubles[j]
		return cmp.Or(cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Container, b.Container)) < 0
	})
	return troubles
}

// lasting are those that do not pass by themselves.
func lasting(troubles []kube.Trouble) []kube.Trouble {
	return slices.DeleteFunc(slices.Clone(troubles), func(t kube.Trouble) bool { return !t.Lasting() })
}
