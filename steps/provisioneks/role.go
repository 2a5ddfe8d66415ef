package provisioneks

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps/reconcile"
)

// The managed policies that EKS demands of the control plane's role and of the nodes' role.
var (
	clusterPolicies = []string{"AmazonEKSClusterPolicy"}
	nodePolicies    = []string{"AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryReadOnly"}
)

// rolePart is an IAM role for an AWS service.
type rolePart struct {
	part, service string
	policies      []string
	arn           func(*state) *string // slot of the ARN
}

var (
	clusterRole = rolePart{"cluster", "eks.amazonaws.com", clusterPolicies, func(s *state) *string { return &s.clusterRole }}
	nodeRole    = rolePart{"node", "ec2.amazonaws.com", nodePolicies, func(s *state) *string { return &s.nodeRole }}
)

// roleName is unique in the account: IAM knows roles by name alone, over all regions.
func (s *state) roleName(part string) string { return cloud.UniqueName(64, s.owner, s.spec.Name, part) }

// trust names the service. In China EC2 goes by a name of its own, and EKS does not.
func (p rolePart) trust(partition string) string {
	service := p.service
	if partition == "aws-cn" && p.part == nodeRole.part {
		service += ".cn"
	}
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + service + `"},"Action":"sts:AssumeRole"}]}`
}

func role(sp Spec, p rolePart) resource {
	name := sp.Name + "/" + p.part
	return resource{
		Kind: kindRole, Name: name,
		Observe: func(ctx context.Context, s *state) (status, error) {
			role := s.roleName(p.part)
			o, err := cloud.IAM(s.aws).GetRole(ctx, &iam.GetRoleInput{RoleName: &role})
			if cloud.IsNotFound(err) {
				return absent, nil
			}
			if err != nil {
				return absent, err
			}
			*p.arn(s) = aws.ToString(o.Role.Arn)
			s.touched(role, aws.ToTime(o.Role.CreateDate))
			tags := cloud.IAMTagMap(o.Role.Tags)
			s.roleTags.Store(p.part, tags)
			foreign := !cloud.Ours(tags, s.owner, kindRole, name)
			var d owned.Drift
			if !s.down && !cloud.SamePolicy(aws.ToString(o.Role.AssumeRolePolicyDocument), p.trust(s.caller.Partition)) {
				d.Mend("trust", "another policy", p.service)
			}
			return status{Exists: true, Ready: true, ID: role, ARN: *p.arn(s), Foreign: foreign, Drift: d}, nil
		},
		Create: func(ctx context.Context, s *state) error {
			role := s.roleName(p.part)
			_, err := cloud.IAM(s.aws).CreateRole(ctx, &iam.CreateRoleInput{
				RoleName: &role, AssumeRolePolicyDocument: aws.String(p.trust(s.caller.Partition)),
				Description: aws.String("EKS " + sp.Name + ": " + p.part), Tags: cloud.IAMTags(s.tags(kindRole, name)),
			})
			s.touched(role, time.Now())
			if cloud.IsExists(err) { // our own call, sent twice after a lost answer
				return nil
			}
			return err
		},
		Update: func(ctx context.Context, s *state, _ []string) error {
			role := s.roleName(p.part)
			s.touched(role, time.Now())
			_, err := cloud.IAM(s.aws).UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: &role, PolicyDocument: aws.String(p.trust(s.caller.Partition))})
			return err
		},
		Delete: func(ctx context.Context, s *state) error { return s.aws.DeleteRole(ctx, s.roleName(p.part)) },
	}
}

// touched notes when a role was last changed: until IAM has spread that, EKS may say that it does not know the role.
func (s *state) touched(role string, at time.Time) {
	if old, ok := s.roleMade.Load(role); !ok || old.(time.Time).Before(at) {
		s.roleMade.Store(role, at)
	}
}

// fresh reports whether role was changed so lately that IAM may not have spread it: only then is "cannot be assumed" worth waiting for.
func (s *state) fresh(role string) bool {
	at, ok := s.roleMade.Load(role)
	return ok && s.aws.Since(at.(time.Time)) < propagation
}

const propagation = 2 * time.Minute

// unspread reports an error of EKS that a role or policy gives which IAM has not spread yet. A role that is wrong gives the same text.
func unspread(err error) bool {
	switch cloud.Code(err) {
	case "ResourcePropagationDelayException":
		return true
	case "InvalidParameterException", "InvalidRequestException":
		return slices.ContainsFunc([]string{"could not be assumed", "does not exist", "Error in role params", "doesn't have the Amazon EKS Managed Policies",
			"IAM role's policy must include", "is invalid or not assumable", "AWSServiceRoleForAmazonEKS"}, func(text string) bool { return cloud.Says(err, text) })
	}
	return false
}

func rolePolicy(sp Spec, p rolePart, policy string) resource {
	name := sp.Name + "/" + p.part + "/" + policy
	id := reconcile.ID(kindRolePolicy, name)
	return resource{
		Kind: kindRolePolicy, Name: name, Needs: []string{reconcile.ID(kindRole, sp.Name+"/"+p.part)},
		Observe: func(ctx context.Context, s *state) (status, error) {
			if s.down {
				return absent, nil // goes with its role
			}
			arn := s.managedPolicy(policy)
			have, err := s.look.policies[p.part].Get(ctx, id)
			ok := slices.Contains(have, arn)
			return status{Exists: ok, Ready: ok, ARN: arn}, err
		},
		Create: func(ctx context.Context, s *state) error {
			defer s.look.policies[p.part].Changed()
			role := s.roleName(p.part)
			s.touched(role, time.Now())
			return s.settle(ctx, func(ctx context.Context) error {
				_, err := cloud.IAM(s.aws).AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &role, PolicyArn: aws.String(s.managedPolicy(policy))})
				return err
			})
		},
	}
}

func (s *state) managedPolicy(name string) string {
	return "arn:" + s.caller.Partition + ":iam::aws:policy/" + name
}

// issuerHost is the issuer without its scheme, as IAM puts it into ARNs and condition keys.
func issuerHost(issuer string) string { return strings.TrimPrefix(issuer, "https://") }
