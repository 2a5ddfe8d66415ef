package provisioneks

import (
	"context"
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
	in := &eks.CreateNodegroupInput{
		ClusterName: &s.spec.Name, NodegroupName: &p.Name, NodeRole: &s.nodeRole, Subnets: p.subnetIDs(), InstanceTypes: p.InstanceTypes, AmiType: ami,
		CapacityType: ekstypes.CapacityTypes(p.CapacityType), Labels: p.Labels, Taints: p.taints(), Tags: s.tags(kindGroup, name),
		ScalingConfig:      &ekstypes.NodegroupScalingConfig{MinSize: &p.Min, DesiredSize: p.Desired, MaxSize: &p.Max},
		LaunchTemplate:     &ekstypes.LaunchTemplateSpecification{Id: &p.templateID, Version: &p.templateVersion},
		UpdateConfig:       &ekstypes.NodegroupUpdateConfig{MaxUnavailable: aws.Int32(1)},
		ClientRequestToken: s.token(kindGroup, name, aws.ToString(s.cluster.Arn), s.cluster.CreatedAt),
	}
	return s.spread(ctx, nodeRole, func(ctx context.Context) error {
		_, err := s.aws.EKS.CreateNodegroup(ctx, in)
		if cloud.IsExists(err) { // our own call, sent twice after a lost answer
			return nil
		}
		return err
	})
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

func (s *state) updateGroup(ctx context.Context, p *groupPart, drift []string) error {
	g, err := s.describeGroup(ctx, p.Name)
	if err != nil || g == nil {
		return err
	}
	if owned.Of(drift, "min") || owned.Of(drift, "max") || owned.Of(drift, "labels") || owned.Of(drift, "taints") {
		in := s.configChange(p, g)
		in.ClientRequestToken = s.token(kindGroup, p.Name, "config", drift)
		o, err := s.aws.EKS.UpdateNodegroupConfig(ctx, in)
		if err != nil {
			return err
		}
		if err := s.updated(ctx, p.Name, o.Update); err != nil {
			return err
		}
	}
	if owned.Of(drift, "launchTemplate.version") {
		o, err := s.aws.EKS.UpdateNodegroupVersion(ctx, &eks.UpdateNodegroupVersionInput{
			ClusterName: &s.spec.Name, NodegroupName: &p.Name, ClientRequestToken: s.token(kindGroup, p.Name, "template", drift),
			LaunchTemplate: &ekstypes.LaunchTemplateSpecification{Id: &p.templateID, Version: &p.templateVersion},
		})
		if err != nil {
			return err
		}
		return s.updated(ctx, p.Name, o.Update)
	}
	return nil
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
	in.ScalingConfig = &ekstypes.NodegroupScalingConfig{MinSize: &p.Min, MaxSize: &p.Max, DesiredSize: aws.Int32(min(max(desired, p.Min), p.Max))}
	for key := range g.Labels {
		if _, keep := p.Labels[key]; !keep {
			in.Labels.RemoveLabels = append(in.Labels.RemoveLabels, key)
		}
	}
	in.Labels.RemoveLabels = sortedCopy(in.Labels.RemoveLabels)
	want := p.taints()
	for _, t := range g.Taints {
		if !hasTaint(want, t) {
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

// replaceFailed removes a node group that an earlier run left failed, and makes it again: EKS never looks at a failed one twice.
func (s *state) replaceFailed(ctx context.Context, p *groupPart, name string) error {
	_, err := s.aws.EKS.DeleteNodegroup(ctx, &eks.DeleteNodegroupInput{ClusterName: &s.spec.Name, NodegroupName: &p.Name})
	if err != nil && !cloud.IsNotFound(err) && !cloud.IsConflict(err) {
		return err
	}
	report := func(w wait.Progress) { s.env.Waiting("removing the failed "+name, w.Elapsed, w.Expect) }
	o := wait.Options{Expect: 60 * time.Second, Timeout: 30 * time.Minute, Speed: s.aws.Speed, Report: report}
	err = wait.Until(ctx, o, func(ctx context.Context) (bool, string, error) {
		g, err := s.describeGroup(ctx, p.Name)
		if cloud.IsTransient(err) {
			return false, "no answer", nil
		}
		return g == nil && err == nil, "DELETING", err
	})
	if err != nil {
		return err
	}
	return s.createGroup(ctx, p, name)
}
