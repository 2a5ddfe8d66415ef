package provisioneks

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps/reconcile"
)

var accessPolicies = map[string]string{
	"clusterAdmin": "AmazonEKSClusterAdminPolicy", "admin": "AmazonEKSAdminPolicy", "edit": "AmazonEKSEditPolicy", "view": "AmazonEKSViewPolicy",
}

// accessEntry lets a principal in. It goes with the cluster.
func accessEntry(sp Spec, a Access) resource {
	name := sp.Name + "/" + a.PrincipalARN
	return resource{
		Kind: kindAccess, Name: name, Needs: []string{reconcile.ID(kindCluster, sp.Name)},
		Observe: func(ctx context.Context, s *state) (status, error) {
			if s.cluster == nil || s.down {
				return absent, nil
			}
			_, err := s.aws.EKS.DescribeAccessEntry(ctx, &eks.DescribeAccessEntryInput{ClusterName: &sp.Name, PrincipalArn: &a.PrincipalARN})
			if cloud.IsNotFound(err) {
				return absent, nil
			}
			if err != nil {
				return absent, err
			}
			o, err := s.aws.EKS.ListAssociatedAccessPolicies(ctx, &eks.ListAssociatedAccessPoliciesInput{ClusterName: &sp.Name, PrincipalArn: &a.PrincipalARN})
			if err != nil {
				return absent, err
			}
			var d owned.Drift
			want := s.accessPolicy(a)
			i := slices.IndexFunc(o.AssociatedAccessPolicies, func(p ekstypes.AssociatedAccessPolicy) bool { return aws.ToString(p.PolicyArn) == want })
			if i < 0 {
				d.Mend("policy", "", a.Policy)
			} else if scope := o.AssociatedAccessPolicies[i].AccessScope; scope != nil {
				d.Mend("namespaces", sortedCopy(scope.Namespaces), sortedCopy(a.Namespaces))
			}
			return status{Exists: true, Ready: true, ID: a.PrincipalARN, Drift: d}, nil
		},
		Create: func(ctx context.Context, s *state) error {
			_, err := s.aws.EKS.CreateAccessEntry(ctx, &eks.CreateAccessEntryInput{
				ClusterName: &sp.Name, PrincipalArn: &a.PrincipalARN, Tags: s.tags(kindAccess, name), ClientRequestToken: s.token(kindAccess, name),
			})
			if err != nil && !cloud.IsExists(err) {
				return err
			}
			return s.associate(ctx, a)
		},
		Update: func(ctx context.Context, s *state, _ []string) error { return s.associate(ctx, a) },
	}
}

func (s *state) accessPolicy(a Access) string {
	return "arn:" + s.caller.Partition + ":eks::aws:cluster-access-policy/" + accessPolicies[a.Policy]
}

func (s *state) associate(ctx context.Context, a Access) error {
	scope := &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster}
	if len(a.Namespaces) > 0 {
		scope = &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeNamespace, Namespaces: a.Namespaces}
	}
	return s.settle(ctx, func(ctx context.Context) error {
		_, err := s.aws.EKS.AssociateAccessPolicy(ctx, &eks.AssociateAccessPolicyInput{
			ClusterName: &s.spec.Name, PrincipalArn: &a.PrincipalARN, PolicyArn: aws.String(s.accessPolicy(a)), AccessScope: scope,
		})
		return err
	})
}
