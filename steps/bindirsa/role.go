package bindirsa

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
)

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
			return s.aws.Retry(ctx, time.Minute, unseenPrincipal, func(ctx context.Context) error {
				_, err := cloud.IAM(s.aws).CreateRole(ctx, in)
				if cloud.IsExists(err) { // our own call, sent twice after a lost answer
					return nil
				}
				return err
			})
		},
		Update: func(ctx context.Context, s *state, drift []string) error { return s.mendRole(ctx, name, drift) },
		Delete: func(ctx context.Context, s *state) error { return s.aws.DeleteRole(ctx, name) },
	}
}

// unseenPrincipal reports a trust policy whose principal, made a moment ago, IAM does not see yet. One that does not exist reads the same.
func unseenPrincipal(err error) bool {
	return cloud.Code(err) == "MalformedPolicyDocument" && cloud.Says(err, "Invalid principal in policy")
}

// seeRole also finds the trust that a re-created cluster has made stale: its issuer is a new one, the role's name is not.
func (s *state) seeRole(ctx context.Context, name string) (status, error) {
	out, err := cloud.IAM(s.aws).GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
	if cloud.IsNotFound(err) {
		return status{}, nil
	}
	if err != nil {
		return status{}, err
	}
	s.roleARN = aws.ToString(out.Role.Arn)
	tags := cloud.IAMTagMap(out.Role.Tags)
	s.proven = tags[tagProven]
	st := status{Exists: true, Ready: true, ID: name, ARN: s.roleARN, Foreign: !cloud.Ours(tags, s.owner, kindRole, name)}
	if s.down {
		return st, nil
	}
	if s.trusted, err = statements(aws.ToString(out.Role.AssumeRolePolicyDocument)); err != nil {
		return st, &steps.Error{Code: "TrustUnreadable", Category: steps.Precondition, Err: err}
	}
	if st.Foreign {
		s.notes = s.lint(name, s.trusted, "the role is not ours, it is left as it is")
		return st, nil
	}
	s.notes = s.lint(name, s.trusted, "not ours, kept")
	st.Drift, err = s.roleDrift(ctx, out.Role)
	return st, err
}

func (s *state) roleDrift(ctx context.Context, r *types.Role) ([]string, error) {
	var d owned.Drift
	if have := s.ownTrust(); !cloud.SamePolicy(document(have), s.trust()) {
		d.Mend("trust", s.tellOwn(), s.wanted())
	}
	d.Fixed("path", aws.ToString(r.Path), s.spec.Path)
	boundary := ""
	if b := r.PermissionsBoundary; b != nil {
		boundary = aws.ToString(b.PermissionsBoundaryArn)
	}
	if boundary != s.spec.PermissionsBoundary {
		d.Mend("permissionsBoundary", boundary, s.spec.PermissionsBoundary)
	}
	if s.spec.PodIdentity || owned.Of(d, "trust") && s.trusts(podService) {
		gone, err := s.dropped(ctx, "drift")
		if err != nil {
			return nil, err
		}
		for _, x := range gone {
			d.Mend("associations not in the spec", x.namespace+"/"+x.account, "none")
		}
	}
	policies, inline, err := s.surplus(ctx)
	if len(policies) > 0 {
		d.Mend("policies not in the spec", policies, "none")
	}
	if len(inline) > 0 {
		d.Mend("inline policies not in the spec", inline, "none")
	}
	return d, err
}

// surplus is what the role may do beyond the spec: it is ours, so what the spec dropped goes.
func (s *state) surplus(ctx context.Context) (policies, inline []string, err error) {
	attached, err := s.attached.Get(ctx, "surplus")
	if err != nil {
		return nil, nil, err
	}
	names, err := s.inlined.Get(ctx, "surplus")
	if err != nil {
		return nil, nil, err
	}
	policies = slices.DeleteFunc(slices.Clone(attached), func(arn string) bool { return slices.Contains(s.spec.PolicyARNs, arn) })
	inline = slices.DeleteFunc(slices.Clone(names), func(name string) bool { _, ok := s.spec.InlinePolicies[name]; return ok })
	return policies, inline, nil
}

func (s *state) mendRole(ctx context.Context, name string, drift []string) error {
	if owned.Of(drift, "permissionsBoundary") {
		var err error
		if s.spec.PermissionsBoundary == "" {
			_, err = cloud.IAM(s.aws).DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: &name})
		} else {
			_, err = cloud.IAM(s.aws).PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: &name, PermissionsBoundary: &s.spec.PermissionsBoundary})
		}
		if err != nil {
			return err
		}
	}
	if owned.Of(drift, "associations not in the spec") {
		gone, err := s.dropped(ctx, "mend")
		if err != nil {
			return err
		}
		for _, x := range gone {
			if err := s.dissociate(ctx, x); err != nil {
				return err
			}
		}
	}
	if owned.Of(drift, "trust") {
		err := s.aws.Retry(ctx, time.Minute, unseenPrincipal, func(ctx context.Context) error {
			_, err := cloud.IAM(s.aws).UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: &name, PolicyDocument: aws.String(s.trustWith(s.trusted))})
			return err
		})
		if err != nil {
			return err
		}
	}
	policies, inline, err := s.surplus(ctx)
	if err != nil {
		return err
	}
	for _, arn := range policies {
		_, err := cloud.IAM(s.aws).DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: &name, PolicyArn: &arn})
		if err != nil && !cloud.IsNotFound(err) {
			return err
		}
		s.attached.Changed()
	}
	for _, n := range inline {
		_, err := cloud.IAM(s.aws).DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &name, PolicyName: &n})
		if err != nil && !cloud.IsNotFound(err) {
			return err
		}
		s.inlined.Changed()
	}
	return nil
}

func (s *state) policy(arn string) resource {
	role := s.name()
	return resource{
		Kind: kindPolicy, Name: role + "/" + arn[strings.LastIndex(arn, "/")+1:], Needs: []string{s.roleID()},
		Observe: func(ctx context.Context, s *state) (status, error) {
			have, err := s.attached.Get(ctx, arn)
			ok := slices.Contains(have, arn)
			return status{Exists: ok, Ready: ok, ARN: arn}, err
		},
		Create: func(ctx context.Context, s *state) error {
			defer s.attached.Changed()
			return s.aws.Retry(ctx, spread, cloud.IsNotFound, func(ctx context.Context) error {
				_, err := cloud.IAM(s.aws).AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &role, PolicyArn: &arn})
				return err
			})
		},
	}
}

func (s *state) inline(name, doc string) resource {
	role := s.name()
	put := func(ctx context.Context, s *state) error {
		defer s.inlined.Changed()
		return s.aws.Retry(ctx, spread, cloud.IsNotFound, func(ctx context.Context) error {
			_, err := cloud.IAM(s.aws).PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &role, PolicyName: &name, PolicyDocument: &doc})
			return err
		})
	}
	return resource{
		Kind: kindInline, Name: role + "/" + name, Needs: []string{s.roleID()}, Create: put,
		Update: func(ctx context.Context, s *state, _ []string) error { return put(ctx, s) },
		Observe: func(ctx context.Context, s *state) (status, error) {
			out, err := cloud.IAM(s.aws).GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &role, PolicyName: &name})
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
