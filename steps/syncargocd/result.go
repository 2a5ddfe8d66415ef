package syncargocd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"pipectl.dev/kube"
)

// result turns an outcome into what later stages see.
func result(ctx context.Context, c *kube.Client, o outcome) (AppResult, string, error) {
	s := o.app.Status
	r := AppResult{
		Changed: o.changed, Revision: s.Sync.Revision, Revisions: slices.Clone(s.Sync.Revisions), Sync: string(s.Sync.Status),
		Health: string(s.Health.Status), Resources: []Resource{}, Images: slices.Sorted(slices.Values(s.Summary.Images)),
		DurationSeconds: o.took.Seconds(),
	}
	if len(r.Revisions) == 0 {
		r.Revisions = []string{r.Revision}
	}
	r.Revision = cmp.Or(r.Revision, r.Revisions[0])
	if r.Images == nil {
		r.Images = []string{}
	}
	if o.result != nil && o.changed {
		for _, x := range o.result.Resources {
			kind := x.Kind
			if x.Group != "" {
				kind += "." + x.Group
			}
			r.Resources = append(r.Resources, Resource{Kind: kind, Namespace: x.Namespace, Name: x.Name,
				Action: cmp.Or(string(x.Status), string(x.HookPhase)), Hook: string(x.HookType), Message: x.Message})
		}
	}
	urls, err := addresses(ctx, c, o.app)
	if err != nil {
		return AppResult{}, "", err
	}
	r.URLs = urls
	first := ""
	if len(urls) > 0 {
		first = urls[0]
	}
	return r, first, nil
}

// addresses are where an Application answers: what Argo CD knows from Ingresses and load balancers, hosts of Ingresses without one,
// else its Services inside the cluster. One that has the Application's name comes first.
func addresses(ctx context.Context, c *kube.Client, app *argo.Application) ([]string, error) {
	out := slices.Clone(app.Status.Summary.ExternalURLs)
	if len(out) == 0 {
		out = []string{}
	}
	var inside []string
	for _, r := range ordered(app) {
		ref := kube.ObjectRef{APIVersion: r.GroupVersionKind().GroupVersion().String(), Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
		switch {
		case r.Kind == "Ingress" && r.Group == "networking.k8s.io" && len(app.Status.Summary.ExternalURLs) == 0:
			obj, err := c.Get(ctx, ref)
			if err != nil {
				return nil, err
			}
			out = append(out, hosts(obj)...)
		case r.Kind == "Service" && r.Group == "":
			obj, err := c.Get(ctx, ref)
			if err != nil {
				return nil, err
			}
			inside = append(inside, internal(obj)...)
		}
	}
	if len(out) == 0 {
		return append(out, inside...), nil
	}
	return out, nil
}

// ordered are an Application's resources, those with its own name first.
func ordered(app *argo.Application) []argo.ResourceStatus {
	out := slices.Clone(app.Status.Resources)
	slices.SortStableFunc(out, func(a, b argo.ResourceStatus) int {
		mine := func(r argo.ResourceStatus) int {
			if r.Name == app.Name {
				return 0
			}
			return 1
		}
		return cmp.Or(mine(a)-mine(b), strings.Compare(a.Name, b.Name))
	})
	return out
}

func hosts(ingress *unstructured.Unstructured) []string {
	if ingress == nil {
		return nil
	}
	secured := map[string]bool{}
	tls, _, _ := unstructured.NestedSlice(ingress.Object, "spec", "tls")
	for _, t := range tls {
		m, _ := t.(map[string]any)
		names, _, _ := unstructured.NestedStringSlice(m, "hosts")
		for _, n := range names {
			secured[n] = true
		}
	}
	var out []string
	rules, _, _ := unstructured.NestedSlice(ingress.Object, "spec", "rules")
	for _, r := range rules {
		m, _ := r.(map[string]any)
		host, _ := m["host"].(string)
		if host == "" {
			continue
		}
		scheme := "http://"
		if secured[host] {
			scheme = "https://"
		}
		out = append(out, scheme+host)
	}
	return out
}

// internal is the address of a Service for those inside the cluster. A headless one has none of its own.
func internal(service *unstructured.Unstructured) []string {
	if service == nil {
		return nil
	}
	if ip, _, _ := unstructured.NestedString(service.Object, "spec", "clusterIP"); ip == "None" {
		return nil
	}
	host := service.GetName() + "." + service.GetNamespace() + ".svc"
	ports, _, _ := unstructured.NestedSlice(service.Object, "spec", "ports")
	if len(ports) == 0 {
		return nil
	}
	first, _ := ports[0].(map[string]any)
	switch port, _ := first["port"].(int64); port {
	case 80:
		return []string{"http://" + host}
	case 443:
		return []string{"https://" + host}
	default:
		return []string{fmt.Sprintf("http://%s:%d", host, port)}
	}
}
