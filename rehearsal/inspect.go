package rehearsal

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
)

// seeded are the resources that were in the cloud before the pipeline, with their tags.
func (w *world) seeded() map[string]string {
	out := map[string]string{}
	for _, r := range w.cloud.Resources() {
		if r.Seeded {
			out[r.Kind+" "+r.ID] = fmt.Sprint(r.Tags)
		}
	}
	return out
}

// inspect looks, as an administrator and without pipectl, at what the stages should have made.
func (p *play) inspect(ctx context.Context, after string) error {
	p.synced = map[string]string{}
	for _, s := range p.world.outline.Spec.Stages {
		look := map[string]func(context.Context, string, stage, *site) error{
			"bind-irsa": p.inspectRole, "attach-volume": p.inspectClaim, "sync-argocd": p.inspectApps,
		}[s.Step]
		if look == nil {
			continue
		}
		site, err := p.world.siteOf(ctx, s)
		if err != nil {
			return err
		}
		if site == nil {
			continue // an expression that only the engine understands
		}
		if err := look(ctx, after, s, site); err != nil {
			return fmt.Errorf("look at %s: %w", s.Name, err)
		}
	}
	return p.inspectSeeded(ctx, after)
}

// inspectSeeded checks that what others made is as it was.
func (p *play) inspectSeeded(_ context.Context, after string) error {
	now := p.world.seeded()
	var changed []string
	for id, tags := range p.seeded {
		if now[id] != tags {
			changed = append(changed, id)
		}
	}
	slices.Sort(changed)
	if len(p.seeded) > 0 {
		p.check(after, "what was in the cloud before is still there, with the same tags", len(changed) == 0, strings.Join(changed, ", "))
	}
	return nil
}

// inspectDown checks that stages with a `down` took back what they put into clusters that stay.
func (p *play) inspectDown(ctx context.Context) error {
	for _, s := range p.world.outline.Spec.Stages {
		if s.Step != "attach-volume" {
			continue
		}
		site := p.world.siteAt(s)
		if site == nil {
			continue // made by the pipeline, and gone as a whole
		}
		namespace, name, _ := strings.Cut(p.world.text(at(&s.With, "claim")), "/")
		_, err := site.client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		p.check("down", "the claim of "+s.Name+" is gone", err != nil, "")
	}
	return p.inspectSeeded(ctx, "down")
}

// text is the value of a literal or a param in the pipeline.
func (w *world) text(node *yaml.Node) string {
	r := reader{o: w.outline, n: &w.needs}
	return r.text(node, "")
}

// siteAt is the cluster of a stage that was there before; nil where there is none.
func (w *world) siteAt(s stage) *site {
	r := reader{o: w.outline, n: &w.needs}
	if p := r.cluster(at(&s.With, "cluster")); p != nil {
		for _, site := range w.sites {
			if site.place == p {
				return site
			}
		}
	}
	return nil
}

// siteOf is the cluster that a stage works on, made before or by the pipeline.
func (w *world) siteOf(ctx context.Context, s stage) (*site, error) {
	if site := w.siteAt(s); site != nil {
		return site, nil
	}
	node := at(&s.With, "cluster")
	if node == nil {
		return nil, nil
	}
	name := w.text(at(node, "eks", "name"))
	if m := clusterRef.FindStringSubmatch(node.Value); m != nil {
		for _, other := range w.outline.Spec.Stages {
			if other.Name == m[1] {
				name = w.text(at(&other.With, "name"))
			}
		}
	}
	if name == "" {
		return nil, nil
	}
	made := &site{place: &place{EKS: name}}
	var err error
	if made.cluster, err = w.eks.Cluster(ctx, name); err != nil {
		return nil, err
	}
	return made, made.connect()
}

// inspectRole takes the role on with a token of each service account, as a pod would, and tries it with a foreign one.
func (p *play) inspectRole(ctx context.Context, after string, s stage, site *site) error {
	arn := p.output(s.Name, "roleArn")
	for _, account := range items(at(&s.With, "serviceAccounts")) {
		namespace, name := p.world.text(at(account, "namespace")), p.world.text(at(account, "name"))
		if strings.ContainsAny(namespace+name, "*?") { // names no account that a token could be made for
			continue
		}
		status, err := p.world.assume(ctx, site, arn, namespace, name)
		if err != nil {
			return err
		}
		if by := at(&s.With, "podIdentity"); by != nil && p.world.text(by) == "true" {
			p.check(after, fmt.Sprintf("a token of %s/%s does not take on the role of %s, which EKS gives it", namespace, name, s.Name), status == http.StatusForbidden, fmt.Sprint(status))
			continue
		}
		p.check(after, fmt.Sprintf("a pod of %s/%s takes on the role of %s", namespace, name, s.Name), status == http.StatusOK, fmt.Sprint(status))
	}
	status, err := p.world.assume(ctx, site, arn, "kube-system", "default")
	if err != nil {
		return err
	}
	p.check(after, "a foreign pod does not", status == http.StatusForbidden, fmt.Sprint(status))
	return nil
}

// assume asks the cloud for credentials of a role with a token of a service account, and returns the HTTP status of the answer.
func (w *world) assume(ctx context.Context, site *site, arn, namespace, name string) (int, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"sts.amazonaws.com"}}}
	token, err := site.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return 0, err
	}
	form := url.Values{"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"}, "RoleArn": {arn}, "RoleSessionName": {"rehearsal"}, "WebIdentityToken": {token.Status.Token}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.baseURL, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// inspectClaim checks that the claim is bound to the volume of ours.
func (p *play) inspectClaim(ctx context.Context, after string, s stage, site *site) error {
	namespace, name, _ := strings.Cut(p.world.text(at(&s.With, "claim")), "/")
	claim, err := site.client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	handle := ""
	if pv, err := site.client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{}); err == nil && pv.Spec.CSI != nil {
		handle = pv.Spec.CSI.VolumeHandle
	}
	p.check(after, fmt.Sprintf("claim %s/%s is bound to the volume", namespace, name), claim.Status.Phase == corev1.ClaimBound && handle == p.output(s.Name, "volumeId"),
		fmt.Sprintf("%s, %s", claim.Status.Phase, handle))
	return nil
}

// inspectApps checks that Argo CD itself calls the Applications synced and healthy, or does so soon: on a busy machine a pod may miss a
// probe now and then.
func (p *play) inspectApps(ctx context.Context, after string, s stage, site *site) error {
	client, err := dynamic.NewForConfig(site.config)
	if err != nil {
		return err
	}
	var bad []string
	look := func(ctx context.Context) (bool, error) {
		bad, err = p.unwell(ctx, client, items(at(&s.With, "apps")))
		return len(bad) == 0, err
	}
	if err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, time.Minute, true, look); err != nil && (ctx.Err() != nil || !wait.Interrupted(err)) {
		return err
	}
	names := strings.Join(slices.Sorted(maps.Keys(p.synced)), ", ")
	p.check(after, "Argo CD calls "+names+" synced and healthy", len(bad) == 0, strings.Join(bad, ", "))
	return nil
}

// unwell are the Applications that are not synced and healthy. When each was synced last is kept.
func (p *play) unwell(ctx context.Context, client dynamic.Interface, apps []*yaml.Node) (bad []string, err error) {
	for _, item := range apps {
		name := p.world.text(at(item, "name"))
		app, err := client.Resource(applications).Namespace(argoNamespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		field := func(path ...string) string {
			v, _, _ := unstructured.NestedString(app.Object, append([]string{"status"}, path...)...)
			return v
		}
		if sync, health := field("sync", "status"), field("health", "status"); sync != "Synced" || health != "Healthy" {
			bad = append(bad, fmt.Sprintf("%s is %s and %s", name, sync, health))
		}
		p.synced[name] = field("operationState", "startedAt")
	}
	return bad, nil
}
