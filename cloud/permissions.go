package cloud

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"pipectl.dev/steps"
)

// Allowed asks IAM whether the caller may do all of actions, and gives one error that names those it may not. An action is tried on any
// resource first, then on what it will meet: policies may be held to names and tags of ours. on gives the ARN of that where it is not one of
// the usual kind, else "". That IAM may not be asked is a note.
func (s *Session) Allowed(ctx context.Context, env steps.Env, actions []string, on ...func(action string) string) (found, err error) {
	const what = "permissions"
	who, err := s.Identify(ctx)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(who.ARN, ":root") {
		env.Checked(what, "the account's root user may do all", true)
		return nil, nil
	}
	principal := who.PrincipalARN()
	denied, err := s.simulate(ctx, principal, actions, "*", nil)
	if IsNotFound(err) { // a role with a path
		principal = s.role(ctx, who)
		denied, err = s.simulate(ctx, principal, actions, "*", nil)
	}
	if IsDenied(err) || IsNotFound(err) || Code(err) == "InvalidInput" {
		env.Checked(what, "IAM does not tell this caller (iam:SimulatePrincipalPolicy): a missing one shows at its call", true)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, action := range denied {
		resource := s.resourceOf(who, action)
		for _, f := range on {
			resource = cmp.Or(f(action), resource)
		}
		still, err := s.simulate(ctx, principal, []string{action}, resource, ownerContext(env))
		if err != nil {
			return nil, err
		}
		missing = append(missing, still...)
	}
	if len(missing) == 0 {
		env.Checked(what, "all that the step needs", true)
		return nil, nil
	}
	slices.Sort(missing)
	env.Checked(what, "missing "+strings.Join(missing, ", "), false)
	return &steps.Error{Code: "NotAllowed", Category: steps.Permission, Message: "the caller may not " + strings.Join(missing, ", "),
		Hints: []string{"allow these actions to " + principal + "; `pipectl rehearse --iam-policy FILE` writes a policy with all that a pipeline needs"}}, nil
}

func (s *Session) simulate(ctx context.Context, principal string, actions []string, resource string, entries []types.ContextEntry) (denied []string, err error) {
	results, err := Paged(ctx, func(ctx context.Context, marker *string) ([]types.EvaluationResult, *string, error) {
		o, err := IAM(s).SimulatePrincipalPolicy(ctx, &iam.SimulatePrincipalPolicyInput{Marker: marker,
			PolicySourceArn: &principal, ActionNames: actions, ResourceArns: []string{resource}, ContextEntries: entries})
		if err != nil {
			return nil, nil, err
		}
		return o.EvaluationResults, o.Marker, nil
	})
	for _, r := range results {
		// A policy with conditions that only the call itself can meet (ec2:CreateAction, iam:PassedToService) cannot be told by IAM.
		if resource != "*" && len(r.MissingContextValues) > 0 {
			continue
		}
		if r.EvalDecision != types.PolicyEvaluationDecisionTypeAllowed {
			denied = append(denied, aws.ToString(r.EvalActionName))
		}
	}
	return denied, err
}

// resourceOf is the ARN that policies held to one kind of resource would match for action.
func (s *Session) resourceOf(who Caller, action string) string {
	service, name, _ := strings.Cut(action, ":")
	arn := "arn:" + who.Partition + ":" + service + ":"
	switch {
	case service == "iam" && strings.Contains(name, "OpenIDConnect"):
		return arn + ":" + who.Account + ":oidc-provider/oidc.eks." + s.Region + "." + Domain(s.Region) + "/id/*"
	case service == "iam":
		return arn + ":" + who.Account + ":role/*"
	case service == "logs":
		return arn + s.Region + ":" + who.Account + ":log-group:*"
	case service == "eks-auth":
		return "arn:" + who.Partition + ":eks:" + s.Region + ":" + who.Account + ":cluster/*"
	case service == "eks":
		return arn + s.Region + ":" + who.Account + ":" + eksKind(name) + "/*"
	default:
		return arn + s.Region + ":" + who.Account + ":" + kebab(strings.TrimPrefix(name, verbOf(name))) + "/*"
	}
}

// eksKind is what EKS asks about for a call: what is made or listed is so in a cluster.
func eksKind(name string) string {
	switch {
	case strings.Contains(name, "AccessPolic"):
		return "access-entry"
	case strings.HasPrefix(name, "Create") || strings.HasPrefix(name, "List"):
		return "cluster"
	case strings.Contains(name, "Nodegroup"):
		return "nodegroup"
	case strings.Contains(name, "Addon"):
		return "addon"
	case strings.Contains(name, "AccessEntry"):
		return "access-entry"
	case strings.Contains(name, "PodIdentityAssociation"):
		return "podidentityassociation"
	}
	return "cluster"
}

func verbOf(name string) string {
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			return name[:i]
		}
	}
	return ""
}

// kindOfNoun are resource types of EC2 and Elastic Load Balancing whose names are not those of the calls.
var kindOfNoun = map[string]string{"load-balancer": "loadbalancer", "target-group": "targetgroup",
	"address": "elastic-ip", "nat-gateway": "natgateway", "launch-template-version": "launch-template", "vpc-attribute": "vpc",
	"subnet-attribute": "subnet", "route": "route-table", "route-table-association": "route-table", "security-group-ingress": "security-group", "instances": "instance", "tags": "*"}

func kebab(noun string) string {
	var b strings.Builder
	for i, r := range noun {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('-')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	if kind, ok := kindOfNoun[b.String()]; ok {
		return kind
	}
	return b.String()
}

// ownerContext is what conditions on our tags are given.
func ownerContext(env steps.Env) []types.ContextEntry {
	var out []types.ContextEntry
	for _, key := range []string{"aws:RequestTag/" + TagIdentity, "aws:ResourceTag/" + TagIdentity, "ec2:ResourceTag/" + TagIdentity} {
		out = append(out, types.ContextEntry{ContextKeyName: aws.String(key), ContextKeyType: types.ContextKeyTypeEnumString, ContextKeyValues: []string{env.Identity.String()}})
	}
	return out
}
