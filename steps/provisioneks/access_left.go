package provisioneks

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/steps/reconcile"
)

// leftAccess looks for access entries whose principal the spec does not name: those of ours are retired, those of others named.
func (s *state) leftAccess(ctx context.Context) error {
	c, _ := s.look.cluster.Peek()
	if !answers(c) || !cloud.Ours(c.Tags, s.owner, kindCluster, s.spec.Name) || c.AccessConfig == nil || c.AccessConfig.AuthenticationMode == ekstypes.AuthenticationModeConfigMap {
		return nil // who may not see the cluster is told elsewhere
	}
	principals, err := cloud.Paged(ctx, func(ctx context.Context, t *string) ([]string, *string, error) {
		o, err := cloud.EKS(s.aws).ListAccessEntries(ctx, &eks.ListAccessEntriesInput{ClusterName: &s.spec.Name, NextToken: t})
		return field(o, err, func() ([]string, *string) { return o.AccessEntries, o.NextToken })
	})
	if cloud.IsNotFound(err) { // it goes at this very moment
		return nil
	}
	if err != nil {
		return cloud.Explain(err)
	}
	principals = slices.DeleteFunc(principals, func(arn string) bool {
		return slices.ContainsFunc(s.spec.Access, func(a Access) bool { return a.PrincipalARN == arn })
	})
	entries, err := besides(principals, func(arn string) (*ekstypes.AccessEntry, error) { return s.describeEntry(ctx, arn) })
	if err != nil {
		return cloud.Explain(err)
	}
	var others []string
	for _, e := range entries {
		arn := aws.ToString(e.PrincipalArn)
		switch {
		case aws.ToString(e.Type) != standardEntry, s.caller.Is(arn) && e.Tags[cloud.TagIdentity] == "": // of nodes; of who made the cluster
		case !cloud.Ours(e.Tags, s.owner, kindAccess, s.name(arn)):
			others = append(others, arn)
		case s.caller.Is(arn):
			s.notes = append(s.notes, arn+" is no longer under `access`, but this run needs it itself: its entry stays until somebody else runs this")
		default:
			s.left = append(s.left, Access{PrincipalARN: arn})
		}
	}
	if len(others) > 0 {
		s.notes = append(s.notes, "others have let into the cluster, besides `access`: "+strings.Join(others, ", ")+"; their entries are left alone")
	}
	return nil
}

// besides asks for all at once, where no call tells more than one; those that are gone meanwhile are missing.
func besides[T any](names []string, describe func(string) (*T, error)) ([]T, error) {
	found, errs := make([]*T, len(names)), make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { found[i], errs[i] = describe(name) })
	}
	wg.Wait()
	var out []T
	for i, e := range found {
		if errs[i] != nil {
			return nil, errs[i]
		}
		if e != nil {
			out = append(out, *e)
		}
	}
	return out, nil
}

// describeEntry gives nil for a principal without an entry.
func (s *state) describeEntry(ctx context.Context, principal string) (*ekstypes.AccessEntry, error) {
	o, err := cloud.EKS(s.aws).DescribeAccessEntry(ctx, &eks.DescribeAccessEntryInput{ClusterName: &s.spec.Name, PrincipalArn: &principal})
	if cloud.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return o.AccessEntry, nil
}

// retiredEntry lets a principal in no more. Those that come in its place are let in first.
func retiredEntry(sp Spec, a Access) resource {
	name := sp.Name + "/" + a.PrincipalARN
	needs := []string{reconcile.ID(kindCluster, sp.Name)}
	for _, other := range sp.Access {
		needs = append(needs, reconcile.ID(kindAccess, sp.Name+"/"+other.PrincipalARN))
	}
	return resource{
		Kind: kindAccess, Name: name, Needs: needs, Retired: true,
		Observe: func(ctx context.Context, s *state) (status, error) {
			if !answers(s.cluster) {
				return absent, nil
			}
			e, err := s.describeEntry(ctx, a.PrincipalARN)
			if err != nil || e == nil {
				return absent, err
			}
			return status{Exists: true, Ready: true, ID: a.PrincipalARN, ARN: aws.ToString(e.AccessEntryArn), Foreign: !cloud.Ours(e.Tags, s.owner, kindAccess, name)}, nil
		},
		Delete: func(ctx context.Context, s *state) error {
			_, err := cloud.EKS(s.aws).DeleteAccessEntry(ctx, &eks.DeleteAccessEntryInput{ClusterName: &sp.Name, PrincipalArn: &a.PrincipalARN})
			return err
		},
	}
}
