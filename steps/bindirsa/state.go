package bindirsa

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/kube"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

// Kinds of what this step makes, as they stand in owner tags and plans.
const (
	kindRole    = "iam:Role"
	kindPolicy  = "iam:RolePolicy"
	kindInline  = "iam:InlinePolicy"
	kindAccount = "ServiceAccount"
)

const audience = "sts.amazonaws.com"

type (
	resource = reconcile.Resource[state]
	status   = reconcile.Status
)

// state is what the resources of one run know.
type state struct {
	aws    *cloud.Session
	kube   *kube.Client
	env    steps.Env
	spec   Spec
	owner  string
	caller cloud.Caller
	issuer string // without https://
	down   bool

	roleARN   string      // written by the role
	annotated atomic.Bool // a service account was changed
}

// name is that of the role, which must not depend on the cluster: down finds the role when the cluster is gone.
func (s *state) name() string {
	if s.spec.RoleName != "" {
		return s.spec.RoleName
	}
	first := s.spec.ServiceAccounts[0]
	return cloud.UniqueName(64, s.owner, s.env.Identity.Prefix(), first.Name)
}

func (s *state) outputs() Outputs {
	out := Outputs{RoleARN: s.roleARN, RoleName: s.name(), Issuer: "https://" + s.issuer, ServiceAccounts: []string{}}
	for _, a := range s.spec.ServiceAccounts {
		out.ServiceAccounts = append(out.ServiceAccounts, a.String())
	}
	return out
}

func issuerOf(ctx context.Context, session *cloud.Session, cluster string) (string, error) {
	out, err := session.EKS.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &cluster})
	if err != nil {
		return "", cloud.Explain(err)
	}
	if out.Cluster.Identity == nil || out.Cluster.Identity.Oidc == nil {
		return "", &steps.Error{Code: "NoIssuer", Category: steps.Precondition, Retryable: true, Message: "it has no OIDC issuer yet"}
	}
	return strings.TrimPrefix(aws.ToString(out.Cluster.Identity.Oidc.Issuer), "https://"), nil
}

func (s *state) providerARN() string {
	return "arn:" + s.caller.Partition + ":iam::" + s.caller.Account + ":oidc-provider/" + s.issuer
}

// providerExists tells a missing provider before STS would, in words about a token.
func (s *state) providerExists(ctx context.Context) error {
	_, err := s.aws.IAM.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: aws.String(s.providerARN())})
	if cloud.IsNotFound(err) {
		return &steps.Error{Code: "NoOIDCProvider", Category: steps.Precondition, Message: "IAM does not know the cluster's issuer " + s.issuer,
			Hints: []string{"let provision-eks make the cluster, or register the issuer: `eksctl utils associate-iam-oidc-provider`"}}
	}
	return cloud.Explain(err)
}

// trust names every subject and the audience. One list of subjects under StringEquals means any of them; two operators would mean both.
func (s *state) trust() string {
	subjects := make([]string, 0, len(s.spec.ServiceAccounts))
	for _, a := range s.spec.ServiceAccounts {
		subjects = append(subjects, a.subject())
	}
	slices.Sort(subjects)
	var sub any = subjects
	if len(subjects) == 1 {
		sub = subjects[0] // IAM gives a list of one back as a string
	}
	doc, _ := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{ // plain data, cannot fail
		"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
		"Principal": map[string]any{"Federated": s.providerARN()},
		"Condition": map[string]any{"StringEquals": map[string]any{s.issuer + ":sub": sub, s.issuer + ":aud": audience}},
	}}})
	return string(doc)
}

func (s *state) list() owned.List[state] {
	rs := []resource{s.role()}
	for _, arn := range s.spec.PolicyARNs {
		rs = append(rs, s.policy(arn))
	}
	for name, doc := range s.spec.InlinePolicies {
		rs = append(rs, s.inline(name, doc))
	}
	for _, a := range s.spec.ServiceAccounts {
		rs = append(rs, s.account(a))
	}
	return owned.List[state]{AWS: s.aws, Resources: rs, Report: s.env.Report}
}

func (s *state) roleID() string { return reconcile.ID(kindRole, s.name()) }

func (s *state) role() resource {
	name := s.name()
	return resource{
		Kind: kindRole, Name: name,
		Observe: func(ctx context.Context, s *state) (status, error) { return s.seeRole(ctx, name) },
		Create: func(ctx context.Context, s *state) error {
			in := &iam.CreateRoleInput{RoleName: &name, Path: aws.String(s.spec.Path), AssumeRolePolicyDocument: aws.String(s.trust()), Tags: cloud.IAMTags(cloud.Tags(s.owner, kindRole, name))}
			if s.spec.PermissionsBoundary != "" {
				in.PermissionsBoundary = &s.spec.PermissionsBoundary
			}
			_, err := s.aws.IAM.CreateRole(ctx, in)
			if cloud.IsExists(err) { // our own call, sent twice after a lost answer
				return nil
			}
			return err
		},
		Update: func(ctx context.Context, s *state, drift []string) error {
			if owned.Of(drift, "permissionsBoundary") {
				_, err := s.aws.IAM.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: &name, PermissionsBoundary: &s.spec.PermissionsBoundary})
				if err != nil {
					return err
				}
			}
			_, err := s.aws.IAM.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: &name, PolicyDocument: aws.String(s.trust())})
			return err
		},
		Delete: func(ctx context.Context, s *state) error { return s.aws.DeleteRole(ctx, name) },
	}
}

// seeRole also finds the trust that a re-created cluster has made stale: its issuer is a new one, the role's name is not.
func (s *state) seeRole(ctx context.Context, name string) (status, error) {
	out, err := s.aws.IAM.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
	if cloud.IsNotFound(err) {
		return status{}, nil
	}
	if err != nil {
		return status{}, err
	}
	s.roleARN = aws.ToString(out.Role.Arn)
	st := status{Exists: true, Ready: true, ID: name, ARN: s.roleARN, Foreign: !cloud.Ours(cloud.IAMTagMap(out.Role.Tags), s.owner, kindRole, name)}
	if s.down {
		return st, nil
	}
	var d owned.Drift
	if !cloud.SamePolicy(aws.ToString(out.Role.AssumeRolePolicyDocument), s.trust()) {
		d.Mend("trust", "another policy", s.issuer)
	}
	d.Fixed("path", aws.ToString(out.Role.Path), s.spec.Path)
	if b := out.Role.PermissionsBoundary; s.spec.PermissionsBoundary != "" {
		have := ""
		if b != nil {
			have = aws.ToString(b.PermissionsBoundaryArn)
		}
		d.Mend("permissionsBoundary", have, s.spec.PermissionsBoundary)
	}
	st.Drift = d
	return st, nil
}

func (s *state) policy(arn string) resource {
	role := s.name()
	return resource{
		Kind: kindPolicy, Name: role + "/" + arn[strings.LastIndex(arn, "/")+1:], Needs: []string{s.roleID()},
		Observe: func(ctx context.Context, s *state) (status, error) {
			pages := iam.NewListAttachedRolePoliciesPaginator(s.aws.IAM, &iam.ListAttachedRolePoliciesInput{RoleName: &role})
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if cloud.IsNotFound(err) {
					return status{}, nil
				}
				if err != nil {
					return status{}, err
				}
				for _, p := range page.AttachedPolicies {
					if aws.ToString(p.PolicyArn) == arn {
						return status{Exists: true, Ready: true, ARN: arn}, nil
					}
				}
			}
			return status{}, nil
		},
		Create: func(ctx context.Context, s *state) error {
			return s.aws.Retry(ctx, spread, cloud.IsNotFound, func(ctx context.Context) error {
				_, err := s.aws.IAM.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &role, PolicyArn: &arn})
				return err
			})
		},
	}
}

func (s *state) inline(name, doc string) resource {
	role := s.name()
	put := func(ctx context.Context, s *state) error {
		return s.aws.Retry(ctx, spread, cloud.IsNotFound, func(ctx context.Context) error {
			_, err := s.aws.IAM.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &role, PolicyName: &name, PolicyDocument: &doc})
			return err
		})
	}
	return resource{
		Kind: kindInline, Name: role + "/" + name, Needs: []string{s.roleID()}, Create: put,
		Update: func(ctx context.Context, s *state, _ []string) error { return put(ctx, s) },
		Observe: func(ctx context.Context, s *state) (status, error) {
			out, err := s.aws.IAM.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &role, PolicyName: &name})
			if cloud.IsNotFound(err) {
				return status{}, nil
			}
			if err != nil {
				return status{}, err
			}
			var d owned.Drift
			if !cloud.SamePolicy(aws.ToString(out.PolicyDocument), doc) {
				d.Mend("document", "another policy", "the spec's")
			}
			return status{Exists: true, Ready: true, Drift: d}, nil
		},
	}
}
