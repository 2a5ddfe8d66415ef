package bindirsa

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
)

// IAM's limits where the account has asked for no others.
const (
	usualTrust    = 2048 // characters
	usualPolicies = 10   // managed policies of a role
)

// actions are all that this step may call in its life, besides sts:AssumeRoleWithWebIdentity, which needs no permission.
var actions = []string{"eks:DescribeCluster", "iam:AttachRolePolicy", "iam:CreateRole", "iam:DeleteRole", "iam:DeleteRolePermissionsBoundary", "iam:DeleteRolePolicy",
	"iam:DetachRolePolicy", "iam:GetOpenIDConnectProvider", "iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies",
	"iam:PutRolePermissionsBoundary", "iam:PutRolePolicy", "iam:TagRole", "iam:UpdateAssumeRolePolicy"}

// podActions are what Pod Identity needs besides.
var podActions = []string{"eks-auth:AssumeRoleForPodIdentity", "eks:CreatePodIdentityAssociation", "eks:DeletePodIdentityAssociation", "eks:DescribeAddon", "eks:DescribePodIdentityAssociation",
	"eks:ListPodIdentityAssociations", "eks:TagResource", "eks:UpdatePodIdentityAssociation", "iam:PassRole"}

// issuerActions are what publishing the issuer of a cluster that EKS does not run needs besides.
var issuerActions = []string{"iam:AddClientIDToOpenIDConnectProvider", "iam:CreateOpenIDConnectProvider", "iam:DeleteOpenIDConnectProvider", "iam:TagOpenIDConnectProvider",
	"s3:DeleteObject", "s3:GetObject", "s3:PutObject"}

// meets is what actions on an issuer that is not EKS's will meet.
func (s *state) meets(action string) string {
	switch i := s.spec.Issuer; {
	case i == nil:
	case strings.Contains(action, "OpenIDConnect"):
		like := &state{caller: s.caller, issuer: s.ownIssuer()}
		return like.providerARN()
	case strings.HasPrefix(action, "s3:"):
		return "arn:" + s.caller.Partition + ":s3:::" + i.Bucket + "/" + i.key(s.region(), keysPath)
	}
	return ""
}

// Preflight tells early what IAM would refuse: a trust policy that is too long, too many policies, a role too many, a caller who may not.
func (st step) Preflight(ctx context.Context, env steps.Env, sp Spec) error {
	session, err := st.aws(ctx, sp.region(env))
	if err != nil {
		return err
	}
	s := &state{aws: session, env: env, spec: sp, owner: env.Identity.String()}
	if err := st.issuerFits(ctx, s); err != nil {
		return cloud.Explain(err)
	}
	var problems []error
	for _, check := range []func(context.Context) (error, error){s.trustFits, s.policiesFit, s.roomForRole} {
		problem, err := check(ctx)
		if err != nil {
			return cloud.Explain(err)
		}
		problems = append(problems, problem)
	}
	needed := slices.Clone(actions)
	switch {
	case sp.PodIdentity:
		needed = append(needed, podActions...)
	case s.publishes(): // of roles, a missing permission shows at its call
		needed = issuerActions
	case sp.Issuer != nil:
		return errors.Join(problems...)
	}
	if s.caller, err = session.Identify(ctx); err != nil {
		return err
	}
	denied, err := session.Allowed(ctx, env, needed, s.meets)
	if err != nil {
		return cloud.Explain(err)
	}
	return errors.Join(append(problems, denied)...)
}

// trustFits counts the trust policy: IAM's limit is on its length, and many service accounts reach it. The issuer may not be known yet; all
// of EKS's are of one length.
func (s *state) trustFits(ctx context.Context) (problem, err error) {
	like := &state{spec: s.spec, issuer: "oidc.eks." + s.aws.Region + "." + cloud.Domain(s.aws.Region) + "/id/0123456789ABCDEF0123456789ABCDEF", caller: cloud.Caller{Account: "123456789012", Partition: "aws"}}
	if s.spec.Issuer != nil {
		like.issuer = s.ownIssuer()
	}
	size := len(like.trust())
	limit := usualTrust
	if size > usualTrust {
		if limit, err = s.limit(ctx, "L-C07B4B0D", usualTrust); err != nil {
			return nil, err
		}
	}
	s.env.Checked("trust policy", fmt.Sprintf("%d characters of %d", size, limit), size <= limit)
	if size <= limit {
		return nil, nil
	}
	return &steps.Error{Code: "TrustTooLong", Category: steps.Quota, Message: fmt.Sprintf("serviceAccounts: their trust policy has %d characters, IAM takes %d", size, limit),
		Hints: []string{"spread them over several roles, or ask for a higher quota \"Role trust policy length\" in Service Quotas"}}, nil
}

func (s *state) policiesFit(ctx context.Context) (problem, err error) {
	n := len(s.spec.PolicyARNs)
	if n <= usualPolicies {
		return nil, nil
	}
	limit, err := s.limit(ctx, "L-0DA4ABF3", usualPolicies)
	if err != nil || n <= limit {
		return nil, err
	}
	return &steps.Error{Code: "TooManyPolicies", Category: steps.Quota, Message: fmt.Sprintf("policyArns: %d policies, IAM takes %d a role", n, limit),
		Hints: []string{"join some of them in one policy or in inlinePolicies, or ask for a higher quota \"Managed policies per role\""}}, nil
}

// limit is a quota of IAM, or what is usual where it cannot be read.
func (s *state) limit(ctx context.Context, code string, usual int) (int, error) {
	v, err := s.aws.Quota(ctx, "iam", code)
	if cloud.IsDenied(err) || cloud.IsNotFound(err) {
		return usual, nil
	}
	return max(int(v), usual), err
}

// roomForRole asks only where the role is not there yet.
func (s *state) roomForRole(ctx context.Context) (problem, err error) {
	if s.spec.RoleName == "" && len(s.spec.ServiceAccounts) == 0 {
		return nil, nil
	}
	role := s.name()
	if _, err = cloud.IAM(s.aws).GetRole(ctx, &iam.GetRoleInput{RoleName: &role}); !cloud.IsNotFound(err) {
		if cloud.IsDenied(err) {
			err = nil // told with the other permissions
		}
		return nil, err
	}
	found, err := s.aws.Within(ctx, s.env, []cloud.Limit{{Service: "iam", Code: "L-FE177D64", Name: "Roles per account", Need: 1, Used: s.aws.Roles}})
	return errors.Join(found...), err
}

// issuerFits looks whether there is a bucket to publish to, and whether the API server, if it is there already, signs for the issuer.
func (st step) issuerFits(ctx context.Context, s *state) error {
	if s.spec.Issuer == nil || s.spec.Cluster.IsZero() {
		return nil
	}
	if s.publishes() {
		i := s.spec.Issuer
		_, _, err := s.aws.Bucket(i.Bucket, "").Get(ctx, i.key(s.region(), discoveryPath))
		if err != nil && !cloud.IsNotFound(err) {
			return s.explainBucket(err)
		}
	}
	var err error
	if s.kube, err = st.kube(ctx, s.spec.Cluster); err != nil {
		if gone(err) {
			return nil // another stage may make it, and the plan asks again
		}
		return err
	}
	return s.signsFor(ctx)
}
