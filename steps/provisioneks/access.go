package provisioneks

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps"
	"pipectl.dev/steps/reconcile"
	"pipectl.dev/steps/spec"
)

// noPolicy is the policy of an entry that Kubernetes' own RBAC speaks for, by its groups.
const noPolicy = "none"

var accessPolicies = map[string]string{
	"clusterAdmin": "AmazonEKSClusterAdminPolicy", "admin": "AmazonEKSAdminPolicy", "adminView": "AmazonEKSAdminViewPolicy",
	"edit": "AmazonEKSEditPolicy", "view": "AmazonEKSViewPolicy",
}

// accessEntry lets a principal in. It goes with the cluster. One that somebody else made is kept when it lets in as the spec says, and is
// in the way when it does not: whoever made it would lose, or gain, what they did not ask for.
func accessEntry(sp Spec, a Access) resource {
	name := sp.Name + "/" + a.PrincipalARN
	return resource{
		Kind: kindAccess, Name: name, Needs: []string{reconcile.ID(kindCluster, sp.Name)},
		Observe: func(ctx context.Context, s *state) (status, error) {
			if s.down || !answers(s.cluster) {
				return absent, nil
			}
			e, have, err := s.describeAccess(ctx, a)
			if err != nil || e == nil {
				return absent, err
			}
			drift := s.accessDrift(a, e, have)
			return status{Exists: true, Ready: true, ID: a.PrincipalARN, ARN: aws.ToString(e.AccessEntryArn), Drift: drift,
				Foreign: len(drift) > 0 && !cloud.Ours(e.Tags, s.owner, kindAccess, name)}, nil
		},
		Create: func(ctx context.Context, s *state) error { return s.createAccess(ctx, a, name) },
		Update: func(ctx context.Context, s *state, drift []string) error {
			if owned.Of(drift, "kubernetesGroups") {
				_, err := cloud.EKS(s.aws).UpdateAccessEntry(ctx, &eks.UpdateAccessEntryInput{
					ClusterName: &sp.Name, PrincipalArn: &a.PrincipalARN, KubernetesGroups: append([]string{}, a.KubernetesGroups...),
				})
				if err != nil {
					return err
				}
			}
			return s.grant(ctx, a)
		},
	}
}

// answers reports a cluster whose entries EKS tells and changes: one that works, and no other.
func answers(c *ekstypes.Cluster) bool {
	return c != nil && (c.Status == ekstypes.ClusterStatusActive || c.Status == ekstypes.ClusterStatusUpdating)
}

// describeAccess gives the entry of a principal and what is associated with it, nil when there is none.
func (s *state) describeAccess(ctx context.Context, a Access) (*ekstypes.AccessEntry, []ekstypes.AssociatedAccessPolicy, error) {
	e, err := s.describeEntry(ctx, a.PrincipalARN)
	if err != nil || e == nil {
		return nil, nil, err
	}
	have, err := s.associated(ctx, a)
	if cloud.IsNotFound(err) { // removed between the two calls
		return nil, nil, nil
	}
	return e, have, err
}

func (s *state) associated(ctx context.Context, a Access) ([]ekstypes.AssociatedAccessPolicy, error) {
	return cloud.Paged(ctx, func(ctx context.Context, t *string) ([]ekstypes.AssociatedAccessPolicy, *string, error) {
		o, err := cloud.EKS(s.aws).ListAssociatedAccessPolicies(ctx, &eks.ListAssociatedAccessPoliciesInput{ClusterName: &s.spec.Name, PrincipalArn: &a.PrincipalARN, NextToken: t})
		return field(o, err, func() ([]ekstypes.AssociatedAccessPolicy, *string) { return o.AssociatedAccessPolicies, o.NextToken })
	})
}

// accessDrift also counts what an entry has beyond the spec: a policy that was taken out of the file must not go on working.
func (s *state) accessDrift(a Access, e *ekstypes.AccessEntry, have []ekstypes.AssociatedAccessPolicy) []string {
	var d owned.Drift
	if e.Type != nil && *e.Type != standardEntry {
		d.Fixed("type", *e.Type, standardEntry)
	}
	var names []string
	for _, p := range have {
		names = append(names, policyWord(aws.ToString(p.PolicyArn)))
	}
	d.Mend("policy", sortedCopy(names), s.wantedPolicies(a))
	if i := slices.IndexFunc(have, s.isPolicy(a)); i >= 0 {
		var namespaces []string
		if have[i].AccessScope != nil {
			namespaces = have[i].AccessScope.Namespaces
		}
		d.Mend("namespaces", sortedCopy(namespaces), sortedCopy(a.Namespaces))
	}
	d.Mend("kubernetesGroups", sortedCopy(e.KubernetesGroups), sortedCopy(a.KubernetesGroups))
	return d
}

// standardEntry is the type of an entry for people and programs; the others are for nodes.
const standardEntry = "STANDARD"

func (s *state) wantedPolicies(a Access) []string {
	if a.Policy == noPolicy {
		return nil
	}
	return []string{a.Policy}
}

// policyWord is the spec's word for a policy of EKS's, or its own name where the spec has none.
func policyWord(arn string) string {
	name := arn[strings.LastIndex(arn, "/")+1:]
	for word, n := range accessPolicies {
		if n == name {
			return word
		}
	}
	return name
}

func (s *state) isPolicy(a Access) func(ekstypes.AssociatedAccessPolicy) bool {
	return func(p ekstypes.AssociatedAccessPolicy) bool {
		return a.Policy != noPolicy && aws.ToString(p.PolicyArn) == s.accessPolicy(a)
	}
}

func (s *state) createAccess(ctx context.Context, a Access, name string) error {
	_, err := cloud.EKS(s.aws).CreateAccessEntry(ctx, &eks.CreateAccessEntryInput{
		ClusterName: &s.spec.Name, PrincipalArn: &a.PrincipalARN, KubernetesGroups: a.KubernetesGroups,
		Tags: s.tags(kindAccess, name), ClientRequestToken: s.token(kindAccess, name, a),
	})
	switch {
	case cloud.IsExists(err): // our own call, sent twice after a lost answer; or somebody was faster
		e, _, err := s.describeAccess(ctx, a)
		if err != nil {
			return err
		}
		if e != nil && !cloud.Ours(e.Tags, s.owner, kindAccess, name) {
			return &steps.Error{Code: "NotOurs", Category: steps.Conflict, Message: "an access entry for " + a.PrincipalARN + " was made by somebody else meanwhile",
				Hints: []string{"run again: it is compared with `access`"}}
		}
	case err != nil:
		return err
	}
	return s.grant(ctx, a)
}

func (s *state) accessPolicy(a Access) string {
	return "arn:" + s.caller.Partition + ":eks::aws:cluster-access-policy/" + accessPolicies[a.Policy]
}

// grant associates the policy of the spec first and takes the others away after: nobody is locked out in between.
func (s *state) grant(ctx context.Context, a Access) error {
	if a.Policy != noPolicy {
		if err := s.associate(ctx, a); err != nil {
			return err
		}
	}
	have, err := s.associated(ctx, a)
	if err != nil && !cloud.IsNotFound(err) {
		return err
	}
	for _, p := range have {
		if s.isPolicy(a)(p) {
			continue
		}
		_, err := cloud.EKS(s.aws).DisassociateAccessPolicy(ctx, &eks.DisassociateAccessPolicyInput{ClusterName: &s.spec.Name, PrincipalArn: &a.PrincipalARN, PolicyArn: p.PolicyArn})
		if err != nil && !cloud.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func (s *state) associate(ctx context.Context, a Access) error {
	scope := &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster}
	if len(a.Namespaces) > 0 {
		scope = &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeNamespace, Namespaces: a.Namespaces}
	}
	return s.settle(ctx, func(ctx context.Context) error {
		_, err := cloud.EKS(s.aws).AssociateAccessPolicy(ctx, &eks.AssociateAccessPolicyInput{
			ClusterName: &s.spec.Name, PrincipalArn: &a.PrincipalARN, PolicyArn: aws.String(s.accessPolicy(a)), AccessScope: scope,
		})
		return err
	})
}

// reserved begin the names of groups that EKS lets no access entry have.
var reserved = []string{"system:", "eks:", "aws:", "amazon:", "iam:"}

// check finds what EKS would refuse, or take and not mean.
func (a Access) check(at string, add adder) {
	switch arn := a.PrincipalARN; {
	case strings.Contains(arn, ":assumed-role/"):
		add(spec.Join(at, "principalArn"), "name the role itself: "+roleOfSession(arn)+", with its path where it has one", "%q is a session of a role", arn)
	case strings.HasPrefix(arn, "arn:") && !strings.Contains(arn, ":iam::"):
		add(spec.Join(at, "principalArn"), "", "expected an IAM role or user such as arn:aws:iam::111122223333:role/dev, got %q", arn)
	}
	if a.Policy == noPolicy && len(a.KubernetesGroups) == 0 {
		add(spec.Join(at, "policy"), "name kubernetesGroups, or another policy", "without policy and groups the entry lets nobody do anything")
	}
	if a.Policy == noPolicy && len(a.Namespaces) > 0 {
		add(spec.Join(at, "namespaces"), "leave it out: what groups may do is up to their role bindings", "only with a policy")
	}
	for i, g := range a.KubernetesGroups {
		if slices.ContainsFunc(reserved, func(p string) bool { return strings.HasPrefix(g, p) }) {
			add(spec.Index(spec.Join(at, "kubernetesGroups"), i), "use a group of your own, or policy: clusterAdmin in place of system:masters", "EKS gives nobody the group %q", g)
		}
	}
}

// roleOfSession guesses the role that an STS session belongs to; the session does not tell the role's path.
func roleOfSession(arn string) string {
	head, tail, _ := strings.Cut(arn, ":assumed-role/")
	role, _, _ := strings.Cut(tail, "/")
	return strings.Replace(head, ":sts:", ":iam:", 1) + ":role/" + role
}
