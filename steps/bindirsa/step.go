// Package bindirsa is the step bind-irsa: an IAM role that named service accounts of one cluster may take on, and the proof
// that they can and that others cannot.
//
// It must not write a trust policy without both subject and audience, widen one that it finds, or touch a role or service account
// beyond what it put there.
package bindirsa

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
)

// Outputs is what later stages may use.
type Outputs struct {
	RoleARN         string   `json:"roleArn" jsonschema_description:"ARN of the role"`
	RoleName        string   `json:"roleName" jsonschema_description:"name of the role"`
	ServiceAccounts []string `json:"serviceAccounts" jsonschema_description:"service accounts that may take it on, as namespace/name"`
	Issuer          string   `json:"issuer,omitempty" jsonschema_description:"OIDC issuer that the role trusts; missing with Pod Identity"`
	Proof           *Proof   `json:"proof,omitempty" jsonschema_description:"what was proven with real tokens; missing when nothing was"`
}

// Proof says that a real token of every service account got the role, and that one of a foreign service account did not.
type Proof struct {
	Audience string `json:"audience" jsonschema_description:"audience of the tokens"`
	Refused  string `json:"refused,omitempty" jsonschema_description:"the service account that was refused, as namespace/name; missing with Pod Identity, which knows no patterns that could admit another"`
}

type step struct {
	aws  cloud.Opener
	kube kube.Opener
}

// New makes the step.
func New(aws cloud.Opener, k kube.Opener) steps.Definition {
	return steps.Define(steps.About{
		Name: "bind-irsa", Least: least, Summary: "Bind an IAM role to Kubernetes service accounts, and prove the binding", AWS: true,
		Example: "cluster: {eks: {name: blog, region: ap-northeast-2}}\nserviceAccounts: [{namespace: kube-system, name: ebs-csi-controller-sa}]\n" +
			"policyArns: [arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy]\n",
		Doc: "The role's trust policy names the subjects and the audience. After each change a real token of every service account goes through " +
			"AssumeRoleWithWebIdentity, and a token of a foreign one must be refused. Statements that others wrote into the trust policy are told by " +
			"plan and kept; the one that is ours, and any that admits tokens of this cluster alone, is put right, which moves a role to the new issuer " +
			"when its cluster was made anew. With podIdentity EKS itself keeps the bindings (associations): the role trusts pods.eks.amazonaws.com, the cluster " +
			"needs the add-on eks-pod-identity-agent (an earlier install-addon stage). The proof is AssumeRoleForPodIdentity, as the agent on a node calls it, with a token " +
			"that is bound to a pod: EKS takes no other. Where no pod runs as a service account yet, the run says so, and the next one after gives the proof. EKS tells a role and its tags for one " +
			"association at a time, so a plan makes one read for each of the cluster." +
			" A cluster that EKS does not run (kubeadm, kops, k3s) does as well: with `issuer`, its discovery document and keys are published to an S3 " +
			"bucket and registered in IAM; see [the guide](../irsa-anywhere.md).",
	}, step{aws, k})
}

// least names a role, whatever cluster and service accounts it was for: the role is found by its name alone. An association is known by its
// cluster and service account, and an issuer by its URL, with its bucket where that does not tell it.
func least(kind, name string) (steps.Least, bool) {
	partial := []string{"cluster", "serviceAccounts"}
	switch kind {
	case kindRole:
		return steps.Least{With: fmt.Sprintf("{roleName: %q, cluster: null, serviceAccounts: null}", name), Partial: partial}, !strings.Contains(name, "/")
	case kindAssociation:
		part := strings.Split(name, "/")
		if len(part) != 3 {
			return steps.Least{}, false
		}
		// The role is found by its own tags: "-" is none of ours.
		return steps.Least{With: fmt.Sprintf("{cluster: {eks: {name: %q, region: null}}, podIdentity: true, roleName: \"-\", serviceAccounts: [{namespace: %q, name: %q}]}", part[0], part[1], part[2]),
			Partial: []string{"cluster.eks.region"}}, true
	case kindProvider:
		issuer, bucket, told := strings.Cut(name, publishedIn)
		u, err := url.Parse("https://" + issuer)
		if err != nil || !told && !pathStyle(u) {
			return steps.Least{}, false
		}
		if !told {
			bucket, _, _ = strings.Cut(strings.Trim(u.Path, "/"), "/")
		}
		return steps.Least{With: fmt.Sprintf("{issuer: {bucket: %q, url: %q}, cluster: null, serviceAccounts: null}", bucket, u.String()), Partial: partial}, bucket != ""
	}
	return steps.Least{}, false
}

func (st step) Plan(ctx context.Context, env steps.Env, sp Spec) (steps.Plan[Outputs], error) {
	s, err := st.connect(ctx, env, sp)
	if err != nil {
		return steps.Plan[Outputs]{}, err
	}
	changes, err := s.list().Plan(ctx, s)
	if e := (*steps.Error)(nil); err == nil && sp.PodIdentity && errors.As(s.agentThere(ctx), &e) && e.Code == "NoPodIdentityAgent" {
		s.left = append(s.left, e.Message+"; a stage before this one may bring it")
	}
	if err == nil && sp.Scan {
		var found []string
		found, err = s.scan(ctx)
		s.left = append(s.left, found...)
	}
	p := steps.Plan[Outputs]{Changes: changes, Forecast: steps.Forecast{Seconds: 15, Notes: append(s.notes, s.left...)}}
	if err == nil && unchanged(changes) {
		if s.podsAll, err = s.podsProven(ctx, func(string) {}); err != nil {
			return p, err
		}
		out := s.outputs()
		p.Outputs, p.Forecast.Seconds = &out, 0
	}
	return p, err
}

func unchanged(changes []steps.Change) bool {
	for _, c := range changes {
		if c.Action != "keep" {
			return false
		}
	}
	return true
}

func (st step) Apply(ctx context.Context, env steps.Env, sp Spec) (Outputs, error) {
	s, err := st.connect(ctx, env, sp)
	if err != nil {
		return Outputs{}, err
	}
	ready := s.providerExists
	switch {
	case sp.PodIdentity:
		ready = s.agentThere
	case s.publishes():
		ready = func(context.Context) error { return nil } // it is made first
	}
	if err := ready(ctx); err != nil {
		return Outputs{}, err
	}
	if err := s.list().Apply(ctx, s); err != nil {
		return Outputs{}, err
	}
	s.podsAll, err = s.podsProven(ctx, s.env.Note)
	return s.outputs(), err
}

func (st step) Observe(ctx context.Context, env steps.Env, sp Spec) (Outputs, bool, error) {
	if sp.Cluster.EKS == nil && sp.Issuer == nil || len(sp.ServiceAccounts) == 0 {
		return Outputs{}, false, nil
	}
	s, err := st.open(ctx, env, sp)
	if gone(err) {
		return Outputs{}, false, nil
	}
	if err != nil {
		return Outputs{}, false, err
	}
	seen, err := s.role().Observe(ctx, s)
	if err == nil && seen.Exists && !seen.Foreign {
		s.podsAll, err = s.podsProven(ctx, func(string) {})
	}
	return s.outputs(), seen.Exists && !seen.Foreign, cloud.Explain(err)
}

// Delete takes the annotations back where the cluster still answers, then removes the role and what was published of the issuer, which
// are found by their names alone: the cluster may be gone.
func (st step) Delete(ctx context.Context, env steps.Env, sp Spec, _ steps.DeleteOptions) error {
	named := sp.RoleName != "" || len(sp.ServiceAccounts) > 0 // else no run can have made the role
	if !named && sp.Issuer == nil {
		return nil
	}
	session, err := st.aws(ctx, sp.region(env))
	if err != nil {
		return err
	}
	s := &state{aws: session, env: env, spec: sp, owner: env.Identity.String(), down: true}
	s.looked()
	if !sp.Cluster.IsZero() {
		s.kube, err = st.kube(ctx, sp.Cluster)
		if err != nil && !gone(err) {
			return err
		}
	}
	if s.kube != nil {
		if err := s.unbind(ctx); err != nil {
			return err
		}
	}
	l := owned.List[state]{AWS: session, Report: env.Report}
	if named {
		l.Resources = append(l.Resources, s.role())
	}
	if sp.PodIdentity && sp.Cluster.EKS != nil {
		for _, a := range sp.ServiceAccounts {
			l.Resources = append(l.Resources, s.associated(a, []string{s.roleID()}))
		}
	}
	if s.publishes() {
		if s.caller, err = session.Identify(ctx); err != nil {
			return err
		}
		s.issuer = s.ownIssuer()
		l.Resources = append(l.Resources, s.published()...)
	}
	return l.Destroy(ctx, s, false)
}

// gone reports a cluster that does not exist any more, or does not answer because it is going.
func gone(err error) bool {
	var e *steps.Error
	return cloud.IsNotFound(err) || errors.As(err, &e) && (e.Code == "ClusterNotFound" || e.Code == "ClusterUnreachable")
}

// ResourceKeys names what no other stage may make.
func (sp *Spec) ResourceKeys() []string {
	var keys []string
	if sp.RoleName != "" {
		keys = append(keys, kindRole+"/"+sp.RoleName)
	}
	if sp.Issuer != nil && sp.Issuer.Bucket != "" { // the stages that follow name the issuer's url alone
		keys = append(keys, kindProvider+"/"+sp.Issuer.Bucket+" "+sp.Issuer.URL)
	}
	return keys
}

// open learns the cluster's issuer and the account, which is all that names and policies are made of.
func (st step) open(ctx context.Context, env steps.Env, sp Spec) (*state, error) {
	session, err := st.aws(ctx, sp.region(env))
	if err != nil {
		return nil, err
	}
	s := &state{aws: session, env: env, spec: sp, owner: env.Identity.String()}
	s.looked()
	if s.caller, err = session.Identify(ctx); err != nil {
		return nil, err
	}
	if sp.PodIdentity {
		return s, nil
	}
	if sp.Cluster.EKS == nil {
		s.issuer = s.ownIssuer()
		return s, nil
	}
	if s.issuer, err = issuerOf(ctx, session, sp.Cluster.EKS.Name); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", sp.Cluster.EKS.Name, err)
	}
	return s, nil
}

// connect is open with the cluster's API server at hand.
func (st step) connect(ctx context.Context, env steps.Env, sp Spec) (*state, error) {
	s, err := st.open(ctx, env, sp)
	if err != nil {
		return nil, err
	}
	if s.kube, err = st.kube(ctx, sp.Cluster); err != nil || sp.Issuer == nil {
		return s, err
	}
	return s, s.signsFor(ctx)
}
