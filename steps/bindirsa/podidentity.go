package bindirsa

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps"
)

// EKS Pod Identity: the role trusts the service, and EKS itself keeps which service account gets it. No issuer is involved.
const (
	kindAssociation = "eks:PodIdentityAssociation"
	podService      = "pods.eks.amazonaws.com"
	podAgent        = "eks-pod-identity-agent"
)

// association is what EKS keeps about one service account.
type association struct {
	id, arn, namespace, account, role string
	tags                              map[string]string
}

// associationsIn lists the associations of a cluster. The list alone tells neither role nor tags, so each is asked for.
func associationsIn(ctx context.Context, s *cloud.Session, cluster string) ([]association, error) {
	rows, err := cloud.Paged(ctx, func(ctx context.Context, token *string) ([]types.PodIdentityAssociationSummary, *string, error) {
		o, err := cloud.EKS(s).ListPodIdentityAssociations(ctx, &eks.ListPodIdentityAssociationsInput{ClusterName: &cluster, NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return o.Associations, o.NextToken, nil
	})
	if cloud.IsNotFound(err) { // they went with their cluster
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []association
	for _, row := range rows {
		d, err := cloud.EKS(s).DescribePodIdentityAssociation(ctx, &eks.DescribePodIdentityAssociationInput{ClusterName: &cluster, AssociationId: row.AssociationId})
		if cloud.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		a := d.Association
		out = append(out, association{aws.ToString(a.AssociationId), aws.ToString(a.AssociationArn), aws.ToString(a.Namespace), aws.ToString(a.ServiceAccount), aws.ToString(a.RoleArn), a.Tags})
	}
	return out, nil
}

func (s *state) associationName(namespace, account string) string {
	return s.spec.Cluster.EKS.Name + "/" + namespace + "/" + account
}

func (s *state) oursOf(a association) bool {
	return cloud.Ours(a.tags, s.owner, kindAssociation, s.associationName(a.namespace, a.account))
}

// associationOf is what EKS keeps of a service account, as far as the reader has not seen it yet.
func (s *state) associationOf(ctx context.Context, reader string, a ServiceAccount) (association, bool, error) {
	all, err := s.associations.Get(ctx, reader)
	for _, x := range all {
		if x.namespace == a.Namespace && x.account == a.Name {
			return x, true, err
		}
	}
	return association{}, false, err
}

// associated is the association of one service account.
func (s *state) associated(a ServiceAccount, needs []string) resource {
	name, cluster := s.associationName(a.Namespace, a.Name), s.spec.Cluster.EKS.Name
	find := func(ctx context.Context, reader string) (association, bool, error) {
		return s.associationOf(ctx, reader, a)
	}
	return resource{
		Kind: kindAssociation, Name: name, Needs: needs,
		Observe: func(ctx context.Context, s *state) (status, error) {
			x, found, err := find(ctx, name)
			if err != nil || !found {
				return status{}, err
			}
			var d owned.Drift
			if !s.down {
				d.Mend("role", x.role, s.roleARN)
			}
			return status{Exists: true, Ready: true, ID: x.id, ARN: x.arn, Foreign: !s.oursOf(x), Drift: d}, nil
		},
		Create: func(ctx context.Context, s *state) error {
			defer s.associations.Changed()
			in := &eks.CreatePodIdentityAssociationInput{ClusterName: &cluster, Namespace: aws.String(a.Namespace), ServiceAccount: aws.String(a.Name), RoleArn: &s.roleARN,
				ClientRequestToken: aws.String(cloud.ClientToken(name, s.roleARN, s.env.RunID)), Tags: cloud.Tags(s.owner, kindAssociation, name)}
			return s.onceTrusted(ctx, func(ctx context.Context) error {
				_, err := cloud.EKS(s.aws).CreatePodIdentityAssociation(ctx, in)
				return err
			})
		},
		Update: func(ctx context.Context, s *state, _ []string) error {
			x, _, err := find(ctx, name+" update")
			if err != nil {
				return err
			}
			defer s.associations.Changed()
			in := &eks.UpdatePodIdentityAssociationInput{ClusterName: &cluster, AssociationId: &x.id, RoleArn: &s.roleARN}
			return s.onceTrusted(ctx, func(ctx context.Context) error {
				_, err := cloud.EKS(s.aws).UpdatePodIdentityAssociation(ctx, in)
				return err
			})
		},
		Delete: func(ctx context.Context, s *state) error {
			x, found, err := find(ctx, name+" delete")
			if err != nil || !found {
				return err
			}
			return s.dissociate(ctx, x)
		},
	}
}

// onceTrusted repeats a call while EKS does not see the role, or its trust policy, that IAM has just taken.
func (s *state) onceTrusted(ctx context.Context, call func(context.Context) error) error {
	return s.aws.Retry(ctx, spread, func(err error) bool { return cloud.Code(err) == "InvalidParameterException" }, call)
}

func (s *state) dissociate(ctx context.Context, x association) error {
	defer s.associations.Changed()
	_, err := cloud.EKS(s.aws).DeletePodIdentityAssociation(ctx, &eks.DeletePodIdentityAssociationInput{ClusterName: &s.spec.Cluster.EKS.Name, AssociationId: &x.id})
	if cloud.IsNotFound(err) {
		return nil
	}
	return err
}

// dropped are associations of ours with this role whose service account is not in the spec, or no longer by Pod Identity.
func (s *state) dropped(ctx context.Context, reader string) ([]association, error) {
	all, err := s.associations.Get(ctx, reader)
	var out []association
	for _, x := range all {
		if s.oursOf(x) && x.role == s.roleARN && !s.wants(x) {
			out = append(out, x)
		}
	}
	return out, err
}

func (s *state) wants(x association) bool {
	for _, a := range s.spec.ServiceAccounts {
		if s.spec.PodIdentity && a.Namespace == x.namespace && a.Name == x.account {
			return true
		}
	}
	return false
}

// agentThere tells a cluster without the agent: EKS makes the association all the same, and pods get nothing. Clusters in Auto Mode have
// the agent built in.
func (s *state) agentThere(ctx context.Context) error {
	name := s.spec.Cluster.EKS.Name
	c, err := cloud.EKS(s.aws).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &name})
	if err != nil {
		return cloud.Explain(err)
	}
	if m := c.Cluster.ComputeConfig; m != nil && aws.ToBool(m.Enabled) {
		return nil
	}
	o, err := cloud.EKS(s.aws).DescribeAddon(ctx, &eks.DescribeAddonInput{ClusterName: &name, AddonName: aws.String(podAgent)})
	switch {
	case cloud.IsNotFound(err):
		return &steps.Error{Code: "NoPodIdentityAgent", Category: steps.Precondition, Message: "cluster " + name + " has no add-on " + podAgent + ", without which pods get no role",
			Hints: []string{"put a stage `step: install-addon`, `with: {cluster: ..., name: " + podAgent + "}` before this one"}}
	case err != nil:
		return cloud.Explain(err)
	case o.Addon.Status == types.AddonStatusCreateFailed:
		return &steps.Error{Code: "NoPodIdentityAgent", Category: steps.Precondition, Message: "the add-on " + podAgent + " of cluster " + name + " is " + string(o.Addon.Status),
			Hints: []string{"look at its health issues: `aws eks describe-addon`; install-addon makes it anew"}}
	}
	return nil
}
