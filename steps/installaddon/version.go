package installaddon

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	semantic "k8s.io/apimachinery/pkg/util/version"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
)

// latest is the word for whatever EKS has newest for the cluster.
const latest = "latest"

// pinned is the version that the add-on must have, "" where it was only a choice for when it is made.
func (sp Spec) pinned() string {
	if sp.Version == latest {
		return ""
	}
	return sp.Version
}

// proposed is the version that would be taken today, of all that there are: the latest where that is asked for, else EKS's default, when it
// tells one.
func (sp Spec) proposed(all []version) string {
	i := slices.IndexFunc(all, func(v version) bool { return v.isDefault })
	if sp.Version == latest {
		i = 0
	}
	return all[max(i, 0)].name
}

// version is one version of an add-on.
type version struct {
	name      string
	isDefault bool
}

func versionsOf(ctx context.Context, session *cloud.Session, in eks.DescribeAddonVersionsInput) ([]version, error) {
	addons, err := cloud.Paged(ctx, func(ctx context.Context, t *string) ([]ekstypes.AddonInfo, *string, error) {
		in.NextToken = t
		o, err := cloud.EKS(session).DescribeAddonVersions(ctx, &in)
		if err != nil {
			return nil, nil, err
		}
		return o.Addons, o.NextToken, nil
	})
	var out []version
	for _, a := range addons {
		for _, v := range a.AddonVersions {
			x := version{name: aws.ToString(v.AddonVersion)}
			for _, c := range v.Compatibilities {
				x.isDefault = x.isDefault || c.DefaultVersion
			}
			out = append(out, x)
		}
	}
	newestFirst(out)
	return out, err
}

// newestFirst orders versions by their numbers. EKS lists them so, but does not say that it always will; one that has no such form stays
// where EKS put it.
func newestFirst(all []version) {
	slices.SortStableFunc(all, func(a, b version) int {
		x, bad := semantic.ParseSemantic(a.name)
		y, worse := semantic.ParseSemantic(b.name)
		switch {
		case bad != nil || worse != nil || x.EqualTo(y):
			return 0
		case y.LessThan(x):
			return -1
		}
		return 1
	})
}

// choose is the version to make the add-on in; nil leaves it to EKS.
func (s *state) choose(ctx context.Context) (*string, error) {
	if s.spec.Version == "" {
		return nil, nil
	}
	if s.spec.Version != latest {
		return &s.spec.Version, nil
	}
	of := s.spec.Cluster.EKS.Version
	if of == "" { // the spec names a cluster and no more
		o, err := cloud.EKS(s.aws).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: s.cluster()})
		if err != nil {
			return nil, err
		}
		of = aws.ToString(o.Cluster.Version)
	}
	all, err := versionsOf(ctx, s.aws, eks.DescribeAddonVersionsInput{AddonName: &s.spec.Name, KubernetesVersion: &of})
	if err == nil && len(all) == 0 {
		err = &steps.Error{Code: "UnsupportedAddonVersion", Category: steps.Precondition, Message: fmt.Sprintf("add-on %s has no version for Kubernetes %s", s.spec.Name, of)}
	}
	if err != nil {
		return nil, err
	}
	return aws.String(s.spec.proposed(all)), nil
}

// lookForNewer compares the version with the one that EKS would take for this cluster. The list is asked for only where a cluster's
// version is known, and one that may not be read is no reason to fail.
func (s *state) lookForNewer(ctx context.Context) error {
	v := s.spec.Cluster.EKS.Version
	if s.seen == nil || v == "" {
		return nil
	}
	all, err := versionsOf(ctx, s.aws, eks.DescribeAddonVersionsInput{AddonName: &s.spec.Name, KubernetesVersion: &v})
	if cloud.IsDenied(err) || len(all) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if is, other := aws.ToString(s.seen.AddonVersion), s.spec.proposed(all); other != is && !listedBefore(all, is, other) {
		s.newer = other
	}
	return nil
}

// listedBefore reports whether a stands before b, which of two that are listed means that it is newer.
func listedBefore(all []version, a, b string) bool {
	index := func(name string) int { return slices.IndexFunc(all, func(v version) bool { return v.name == name }) }
	return index(a) >= 0 && index(a) < index(b)
}
