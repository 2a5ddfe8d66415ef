// Package bindirsa is the step bind-irsa: an IAM role that named service accounts of one EKS cluster may take on, and the proof
// that they can and that others cannot.
//
// It must not write a trust policy without both subject and audience, widen one that it finds, or touch a role or service account
// beyond what it put there.
package bindirsa

import (
	"context"
	"errors"
	"fmt"

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
	Issuer          string   `json:"issuer" jsonschema_description:"OIDC issuer that the role trusts"`
	Proof           *Proof   `json:"proof,omitempty" jsonschema_description:"what was proven with real tokens; missing when nothing was"`
}

// Proof says that a real token of every service account got the role, and that one of a foreign service account did not.
type Proof struct {
	Audience string `json:"audience" jsonschema_description:"audience of the tokens"`
	Refused  string `json:"refused" jsonschema_description:"the service account that was refused, as namespace/name"`
}

type step struct {
	aws  cloud.Opener
	kube kube.Opener
}

// New makes the step.
func New(aws cloud.Opener, k kube.Opener) steps.Definition {
	return steps.Define(steps.About{
		Name: "bind-irsa", Summary: "Bind an IAM role to Kubernetes service accounts, and prove the binding", AWS: true,
		Example: "cluster: {eks: {name: blog, region: ap-northeast-2}}\nserviceAccounts: [{namespace: kube-system, name: ebs-csi-controller-sa}]\n" +
			"policyArns: [arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy]\n",
		Doc: "The role's trust policy names the subjects and the audience. After each change a real token of every service account goes through " +
			"AssumeRoleWithWebIdentity, and a token of a foreign one must be refused.",
	}, step{aws, k})
}

func (st step) Plan(ctx context.Context, env steps.Env, sp Spec) (steps.Plan[Outputs], error) {
	s, err := st.connect(ctx, env, sp)
	if err != nil {
		return steps.Plan[Outputs]{}, err
	}
	changes, err := s.list().Plan(ctx, s)
	p := steps.Plan[Outputs]{Changes: changes, Forecast: steps.Forecast{Seconds: 15}}
	if err == nil && unchanged(changes) {
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
	if err := s.providerExists(ctx); err != nil {
		return Outputs{}, err
	}
	if err := s.list().Apply(ctx, s); err != nil {
		return Outputs{}, err
	}
	return s.outputs(), nil
}

func (st step) Observe(ctx context.Context, env steps.Env, sp Spec) (Outputs, bool, error) {
	if sp.Cluster.EKS == nil || len(sp.ServiceAccounts) == 0 {
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
	return s.outputs(), seen.Exists && !seen.Foreign, cloud.Explain(err)
}

// Delete takes the annotations back where the cluster still answers, then removes the role, which is found by its name alone: the
// cluster may be gone.
func (st step) Delete(ctx context.Context, env steps.Env, sp Spec, _ steps.DeleteOptions) error {
	if sp.RoleName == "" && len(sp.ServiceAccounts) == 0 {
		return nil // the role's name is not known, so no run can have made it
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
	l := owned.List[state]{AWS: session, Resources: []resource{s.role()}, Report: env.Report}
	return l.Destroy(ctx, s, false)
}

// Preflight counts the trust policy: IAM's limit is on its length, and many service accounts reach it. The issuer may not be known yet; all
// of EKS's are of one length.
func (st step) Preflight(ctx context.Context, env steps.Env, sp Spec) error {
	const usual = 2048
	s := &state{env: env, spec: sp, owner: env.Identity.String(), issuer: "oidc.eks." + sp.region(env) + ".amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"}
	s.caller = cloud.Caller{Account: "123456789012", Partition: "aws"}
	size := len(s.trust())
	if size <= usual {
		return nil
	}
	session, err := st.aws(ctx, sp.region(env))
	if err != nil {
		return err
	}
	limit, err := session.Quota(ctx, "iam", "L-C07B4B0D")
	if err != nil && !cloud.IsDenied(err) && !cloud.IsNotFound(err) {
		return cloud.Explain(err)
	}
	if limit = max(limit, usual); size > int(limit) {
		return &steps.Error{Code: "TrustTooLong", Category: steps.Quota, Message: fmt.Sprintf("serviceAccounts: their trust policy has %d characters, IAM takes %d", size, int(limit)),
			Hints: []string{"spread them over several roles, or ask for a higher quota \"Role trust policy length\" in Service Quotas"}}
	}
	return nil
}

// gone reports a cluster that does not exist any more, or does not answer because it is going.
func gone(err error) bool {
	var e *steps.Error
	return cloud.IsNotFound(err) || errors.As(err, &e) && (e.Code == "ClusterNotFound" || e.Code == "ClusterUnreachable")
}

// ResourceKeys names what no other stage may make.
func (sp *Spec) ResourceKeys() []string {
	if sp.RoleName == "" {
		return nil
	}
	return []string{kindRole + "/" + sp.RoleName}
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
	s.kube, err = st.kube(ctx, sp.Cluster)
	return s, err
}
