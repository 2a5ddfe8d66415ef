package provisioneks

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps/wait"
)

func (s *state) createGroup(ctx context.Context, p *groupPart, name string) error {
	ami, err := s.amiType(ctx, p.NodeGroup)
	if err != nil {
		return err
	}
	s.markMade(kindGroup, name)
	tags := s.tags(kindGroup, name)
	if len(p.short) > 0 {
		tags[tagShort] = strings.Join(sortedCopy(p.short), " ")
	}
	in := &eks.CreateNodegroupInput{
		ClusterName: &s.spec.Name, NodegroupName: &p.Name, NodeRole: &s.nodeRole, Subnets: p.subnetIDs(), InstanceTypes: p.InstanceTypes, AmiType: ami,
		CapacityType: ekstypes.CapacityTypes(p.CapacityType), Labels: p.Labels, Taints: p.taints(), Tags: tags,
		ScalingConfig:      &ekstypes.NodegroupScalingConfig{MinSize: &p.Min, DesiredSize: p.Desired, MaxSize: &p.Max},
		LaunchTemplate:     &ekstypes.LaunchTemplateSpecification{Id: &p.templateID, Version: &p.templateVersion},
		UpdateConfig:       p.updateConfig(),
		ClientRequestToken: s.token(kindGroup, name, aws.ToString(s.cluster.Arn), s.cluster.CreatedAt, p.short),
	}
	if ami != "" {
		in.Version = s.cluster.Version // EKS takes it by itself; an image of one's own excludes it
	}
	if p.ReleaseVersion != "" && p.ReleaseVersion != latest { // the latest is what EKS takes
		in.ReleaseVersion = &p.ReleaseVersion
	}
	return s.spread(ctx, nodeRole, func(ctx context.Context) error {
		return s.aws.Retry(ctx, time.Minute, templateUnseen, func(ctx context.Context) error {
			_, err := cloud.EKS(s.aws).CreateNodegroup(ctx, in)
			if cloud.IsExists(err) { // our own call, sent twice after a lost answer
				return nil
			}
			return err
		})
	})
}

// templateUnseen reports that EKS does not see yet, in EC2, the launch template or version that was made a moment ago.
func templateUnseen(err error) bool {
	return cloud.Code(err) == "InvalidParameterException" && (cloud.Says(err, "Launch template was not found") || cloud.Says(err, "Could not find the specified version"))
}

// updateConfig is how many nodes may be away at once while a change is rolled out; one, where the spec leaves it open.
func (g NodeGroup) updateConfig() *ekstypes.NodegroupUpdateConfig {
	switch u := g.UpdateConfig; {
	case u.MaxUnavailablePercentage > 0:
		return &ekstypes.NodegroupUpdateConfig{MaxUnavailablePercentage: aws.Int32(u.MaxUnavailablePercentage)}
	case u.MaxUnavailable > 0:
		return &ekstypes.NodegroupUpdateConfig{MaxUnavailable: aws.Int32(u.MaxUnavailable)}
	}
	return &ekstypes.NodegroupUpdateConfig{MaxUnavailable: aws.Int32(1)}
}

// amiType is the image family: what the spec says, else Amazon Linux 2023 for the architecture of the first instance type.
// An image of one's own takes none.
func (s *state) amiType(ctx context.Context, g NodeGroup) (ekstypes.AMITypes, error) {
	if g.LaunchTemplate.ImageID != "" || g.AMIType != "" {
		return ekstypes.AMITypes(g.AMIType), nil
	}
	types, err := s.look.types.Get(ctx, "amiType "+g.Name)
	if err != nil {
		return "", err
	}
	if architecture(types[g.InstanceTypes[0]]) == arm {
		return ekstypes.AMITypesAl2023Arm64Standard, nil
	}
	return ekstypes.AMITypesAl2023X8664Standard, nil
}

// updateGroup makes one change after the other, like updateCluster, and for the same reasons.
func (s *state) updateGroup(ctx context.Context, p *groupPart) error {
	for before := []string(nil); ; {
		g, err := s.groupAtRest(ctx, p.Name)
		if err != nil || g == nil {
			return err
		}
		if err := s.resolveRelease(ctx, p, g); err != nil {
			return err
		}
		drift := s.groupDrift(p, g)
		if len(drift) == 0 {
			return nil
		}
		if err := progress(before, drift); err != nil {
			return err
		}
		u, err := s.nextGroupUpdate(ctx, p, g, drift)
		if busy(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := s.updated(ctx, p.Name, u); err != nil {
			return err
		}
		before = drift
	}
}

func (s *state) groupAtRest(ctx context.Context, name string) (*ekstypes.Nodegroup, error) {
	describe := func(ctx context.Context) (*ekstypes.Nodegroup, error) { return s.describeGroup(ctx, name) }
	return atRest(ctx, s, "node group "+name, describe, func(g *ekstypes.Nodegroup) string { return string(g.Status) })
}

// nextGroupUpdate asks for sizes, labels and taints first, which leave the nodes alone, then for nodes by the new launch template.
func (s *state) nextGroupUpdate(ctx context.Context, p *groupPart, g *ekstypes.Nodegroup, drift []string) (*ekstypes.Update, error) {
	if slices.ContainsFunc([]string{"min", "max", "desired", "labels", "taints", "updateConfig.maxUnavailable", "updateConfig.maxUnavailablePercentage"}, func(field string) bool { return owned.Of(drift, field) }) {
		in := s.configChange(p, g)
		in.ClientRequestToken = s.token(kindGroup, p.Name, "config", drift)
		o, err := cloud.EKS(s.aws).UpdateNodegroupConfig(ctx, in)
		if err != nil {
			return nil, err
		}
		return o.Update, nil
	}
	in := &eks.UpdateNodegroupVersionInput{ClusterName: &s.spec.Name, NodegroupName: &p.Name, ClientRequestToken: s.token(kindGroup, p.Name, "template", drift)}
	if owned.Of(drift, "launchTemplate.version") {
		in.LaunchTemplate = &ekstypes.LaunchTemplateSpecification{Id: &p.templateID, Version: &p.templateVersion}
	}
	if owned.Of(drift, "version") { // both at once: nodes are replaced once
		in.Version = aws.String(s.versionDrift(g))
	}
	if owned.Of(drift, "releaseVersion") {
		in.ReleaseVersion = &p.release
	}
	var o *eks.UpdateNodegroupVersionOutput
	err := s.aws.Retry(ctx, time.Minute, templateUnseen, func(ctx context.Context) (err error) {
		o, err = cloud.EKS(s.aws).UpdateNodegroupVersion(ctx, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	return o.Update, nil
}

// configChange brings sizes, labels and taints to the spec. The desired size is an autoscaler's business; it is only kept in bounds.
func (s *state) configChange(p *groupPart, g *ekstypes.Nodegroup) *eks.UpdateNodegroupConfigInput {
	in := &eks.UpdateNodegroupConfigInput{
		ClusterName: &s.spec.Name, NodegroupName: &p.Name, Labels: &ekstypes.UpdateLabelsPayload{AddOrUpdateLabels: p.Labels}, Taints: &ekstypes.UpdateTaintsPayload{},
	}
	desired := *p.Desired
	if g.ScalingConfig != nil {
		desired = aws.ToInt32(g.ScalingConfig.DesiredSize)
	}
	if p.Stopped || g.ScalingConfig != nil && stopped(g.ScalingConfig) {
		desired = *p.Desired
	}
	if p.UpdateConfig != (UpdateConfig{}) {
		in.UpdateConfig = p.updateConfig()
	}
	in.ScalingConfig = &ekstypes.NodegroupScalingConfig{MinSize: &p.Min, MaxSize: &p.Max, DesiredSize: aws.Int32(min(max(desired, p.Min), p.Max))}
	for key := range g.Labels {
		if _, keep := p.Labels[key]; !keep {
			in.Labels.RemoveLabels = append(in.Labels.RemoveLabels, key)
		}
	}
	in.Labels.RemoveLabels = sortedCopy(in.Labels.RemoveLabels)
	want := p.taints()
	for _, t := range g.Taints {
		if !keyedTaint(want, t) { // one of another value is overwritten; named in both lists it would go
			in.Taints.RemoveTaints = append(in.Taints.RemoveTaints, t)
		}
	}
	for _, t := range want {
		if !hasTaint(g.Taints, t) {
			in.Taints.AddOrUpdateTaints = append(in.Taints.AddOrUpdateTaints, t)
		}
	}
	return in
}

func hasTaint(list []ekstypes.Taint, t ekstypes.Taint) bool {
	for _, x := range list {
		if aws.ToString(x.Key) == aws.ToString(t.Key) && aws.ToString(x.Value) == aws.ToString(t.Value) && x.Effect == t.Effect {
			return true
		}
	}
	return false
}

// keyedTaint reports whether list has a taint of t's key and effect, which are what EKS knows a taint by.
func keyedTaint(list []ekstypes.Taint, t ekstypes.Taint) bool {
	return slices.ContainsFunc(list, func(x ekstypes.Taint) bool { return aws.ToString(x.Key) == aws.ToString(t.Key) && x.Effect == t.Effect })
}

// replaceFailed removes a node group that an earlier run left failed or half removed, and makes it again: EKS never looks at a failed one
// twice.
func (s *state) replaceFailed(ctx context.Context, p *groupPart, name string) error {
	report := func(w wait.Progress) { s.env.WaitingFor("removing what is left of "+name, w) }
	o := wait.Options{Expect: 60 * time.Second, Timeout: 30 * time.Minute, Speed: s.aws.Speed, Report: report}
	err := s.dropGroup(ctx, p)
	if err != nil {
		return err
	}
	err = wait.Until(ctx, o, func(ctx context.Context) (bool, string, error) {
		g, err := s.describeGroup(ctx, p.Name)
		if cloud.IsTransient(err) {
			return false, "no answer", nil
		}
		if g != nil && g.Status != ekstypes.NodegroupStatusDeleting { // it was still being made when it was to go
			err = s.dropGroup(ctx, p)
		}
		return g == nil && err == nil, "DELETING", err
	})
	if err != nil {
		return err
	}
	return s.createGroup(ctx, p, name)
}

// dropGroup asks for the group's removal. One that EKS is at work on is left for the next attempt.
func (s *state) dropGroup(ctx context.Context, p *groupPart) error {
	_, err := cloud.EKS(s.aws).DeleteNodegroup(ctx, &eks.DeleteNodegroupInput{ClusterName: &s.spec.Name, NodegroupName: &p.Name})
	if cloud.IsNotFound(err) || cloud.IsConflict(err) {
		return nil
	}
	return err
}
