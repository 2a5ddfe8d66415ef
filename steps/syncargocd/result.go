package syncargocd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	argo "github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// asking is how many Applications' addresses are looked for at once: with hundreds of them one after the other would take longer than to
// compare them all.
const asking = 16

// outputs turns the outcomes into what later stages see.
func (x *session) outputs(ctx context.Context) (Outputs, error) {
	out := Outputs{Apps: map[string]AppResult{}, URLs: map[string]string{}}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(asking)
	for n, o := range x.outcomes {
		if o.app == nil {
			continue
		}
		g.Go(func() error {
			r := result(o)
			urls, err := x.addresses(ctx, o.app)
			if err != nil {
				return err
			}
			r.URLs = urls
			mu.Lock()
			defer mu.Unlock()
			out.Apps[x.title(n)], out.URLs[x.title(n)] = r, ""
			if len(urls) > 0 {
				out.URLs[x.title(n)] = urls[0]
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return Outputs{}, err
	}
	return out, nil
}

// result is an outcome without addresses.
func result(o outcome) AppResult {
	s := o.app.Status
	r := AppResult{
		Changed: o.changed, Revision: s.Sync.Revision, Revisions: slices.Clone(s.Sync.Revisions), Sync: string(s.Sync.Status),
		Health: string(s.Health.Status), Resources: []Resource{}, Hooks: []Hook{}, Images: slices.Sorted(slices.Values(s.Summary.Images)),
		DurationSeconds: o.took.Seconds(),
	}
	if o.result != nil && o.changed { // a revision that the Application does not follow is live, though not what it is compared with
		r.Revision, r.Revisions = o.result.Revision, slices.Clone(o.result.Revisions)
	}
	if len(r.Revisions) == 0 {
		r.Revisions = []string{r.Revision}
	}
	r.Revision = cmp.Or(r.Revision, r.Revisions[0])
	if r.Images == nil {
		r.Images = []string{}
	}
	if r.ImagesBefore = slices.Sorted(slices.Values(o.before)); o.before == nil {
		r.ImagesBefore = slices.Clone(r.Images)
	}
	if r.ImagesBefore == nil {
		r.ImagesBefore = []string{}
	}
	if o.result == nil {
		return r
	}
	for _, x := range o.result.Resources {
		kind := x.Kind
		if x.Group != "" {
			kind += "." + x.Group
		}
		if x.HookType != "" {
			r.Hooks = append(r.Hooks, Hook{Kind: kind, Namespace: x.Namespace, Name: x.Name, Hook: string(x.HookType), Phase: string(x.HookPhase), Message: x.Message})
			continue
		}
		r.Resources = append(r.Resources, Resource{Kind: kind, Namespace: x.Namespace, Name: x.Name, Action: cmp.Or(string(x.Status), string(x.HookPhase)), Message: x.Message})
	}
	return r
}

// addresses are where an Application answers: what Argo CD knows from Ingresses and load balancers, hosts of Ingresses without one,
// else its Services inside the cluster. One that has the Application's name comes first.
func (x *session) addresses(ctx context.Context, app *argo.Application) ([]string, error) {
	out := slices.Clone(app.Status.Summary.ExternalURLs)
	if len(out) > 0 {
		return out, nil
	}
	out = []string{}
	var inside []string
	for _, r := range ordered(app) {
		ingress := r.Kind == "Ingress" && r.Group == "networking.k8s.io"
		if !ingress && (r.Kind != "Service" || r.Group != "") {
			continue
		}
		obj, err := x.via.object(ctx, app, refOf(r))
		if err != nil {
			return nil, err
		}
		if ingress {
			out = append(out, hosts(obj)...)
		} else {
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
