package provisioneks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/steps"
)

// nextMinor upgrades the control plane by one minor version, which is all that EKS does at a time. It refuses to while a managed node
// group is behind, so these follow first; after the last minor version they follow as resources of their own.
func (s *state) nextMinor(ctx context.Context, have string, token *string) (*ekstypes.Update, error) {
	if err := s.levelGroups(ctx, have); err != nil {
		return nil, err
	}
	next := fmt.Sprintf("1.%d", minor(have)+1)
	o, err := cloud.EKS(s.aws).UpdateClusterVersion(ctx, &eks.UpdateClusterVersionInput{Name: &s.spec.Name, Version: &next, ClientRequestToken: token})
	if err != nil {
		return nil, err
	}
	return o.Update, nil
}

// levelGroups brings the node groups that are behind their control plane to its version, all at once: those that left the file too, which
// stay until a prune.
func (s *state) levelGroups(ctx context.Context, version string) error {
	var names []string
	for _, p := range s.lay.groups {
		names = append(names, p.Name)
	}
	for _, old := range s.oldGroups {
		if old.group != nil {
			names = append(names, old.name)
		}
	}
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { errs[i] = s.levelGroup(ctx, name, version) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *state) levelGroup(ctx context.Context, name, version string) error {
	for {
		g, err := s.groupAtRest(ctx, name)
		if err != nil || g == nil || !behind(g, version) || !cloud.Ours(g.Tags, s.owner, kindGroup, s.name(name)) {
			return err
		}
		o, err := cloud.EKS(s.aws).UpdateNodegroupVersion(ctx, &eks.UpdateNodegroupVersionInput{
			ClusterName: &s.spec.Name, NodegroupName: &name, Version: &version, ClientRequestToken: s.token(kindGroup, name, "level", version),
		})
		if busy(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := s.updated(ctx, name, o.Update); err != nil {
			return err
		}
	}
}

// behind reports that EKS can bring the nodes of g to version. Nodes of an image of one's own have none that EKS knows, and a group that
// failed is replaced by one that has it.
func behind(g *ekstypes.Nodegroup, version string) bool {
	switch g.Status {
	case ekstypes.NodegroupStatusActive, ekstypes.NodegroupStatusDegraded:
		return g.AmiType != ekstypes.AMITypesCustom && minor(aws.ToString(g.Version)) < minor(version)
	}
	return false
}

// checkUpgrade finds before the first write what EKS would say of a version that the spec asks of a cluster that is there.
func (s *state) checkUpgrade(ctx context.Context, c *ekstypes.Cluster) ([]error, error) {
	have, want := aws.ToString(c.Version), s.spec.Version
	if want == "" || want == have || s.env.Unknown("version") {
		return nil, nil
	}
	if minor(want) < minor(have) {
		s.env.Checked("Kubernetes version", "the cluster runs "+have+", and EKS never goes back", false)
		return []error{&steps.Error{Code: "Downgrade", Category: steps.Precondition, Message: fmt.Sprintf("version: the cluster runs %s, and EKS never goes back to %s", have, want),
			Hints: []string{"write version: " + have + ", or leave `version` out"}}}, nil
	}
	all, err := s.versions(ctx)
	if err != nil {
		return nil, err
	}
	unknown := knownVersion(want, all)
	s.env.Checked("Kubernetes version", "from "+have+" to "+want+supportText(want, all), unknown == nil)
	if unknown != nil {
		return []error{unknown}, nil
	}
	return s.checkUpgradeOfGroups(ctx, want)
}

// farBehind reports whether EKS would refuse version to the control plane of a node group.
func farBehind(g *ekstypes.Nodegroup, version string) bool {
	return behind(g, fmt.Sprintf("1.%d", minor(version)-1))
}

// checkUpgradeOfGroups finds node groups that the control plane cannot leave behind, which EKS says only halfway: those whose image family
// ends before version does, and those of others, which are not ours to upgrade.
func (s *state) checkUpgradeOfGroups(ctx context.Context, version string) ([]error, error) {
	names, err := s.groupNames(ctx)
	if err != nil {
		return nil, err
	}
	groups, err := s.describeGroups(ctx, names)
	if err != nil {
		return nil, err
	}
	var out []error
	for _, g := range groups {
		switch name := aws.ToString(g.NodegroupName); {
		case minor(version) > lastAL2 && strings.HasPrefix(string(g.AmiType), "AL2_"):
			out = append(out, precondition("AMITypeTooOld", fmt.Sprintf("node group %s: %s ended with Kubernetes 1.%d, the cluster is to be %s", name, g.AmiType, lastAL2, version),
				"make a node group of another name with "+successor(string(g.AmiType))+" and take this one out first: the image family of a node group cannot change"))
		case !cloud.Ours(g.Tags, s.owner, kindGroup, s.name(name)) && farBehind(&g, version):
			out = append(out, precondition("NodegroupBehind", fmt.Sprintf("version: node group %s has Kubernetes %s and is not ours to upgrade; EKS takes a control plane to %s only from node groups of the minor version before it", name, aws.ToString(g.Version), version),
				fmt.Sprintf("upgrade %s by what made it, or write version: \"1.%d\" first", name, minor(aws.ToString(g.Version))+1)))
		}
	}
	return out, nil
}
