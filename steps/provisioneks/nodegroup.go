package provisioneks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/cloud/owned"
	"pipectl.dev/steps"
)

func (s *state) describeGroup(ctx context.Context, name string) (*ekstypes.Nodegroup, error) {
	o, err := cloud.EKS(s.aws).DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: &s.spec.Name, NodegroupName: &name})
	if cloud.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return o.Nodegroup, nil
}

// describeGroups asks for all at once; those that are gone are missing.
func (s *state) describeGroups(ctx context.Context, names []string) ([]ekstypes.Nodegroup, error) {
	return besides(names, func(name string) (*ekstypes.Nodegroup, error) { return s.describeGroup(ctx, name) })
}

// groupNames are all node groups of the cluster, none when there is no cluster.
func (s *state) groupNames(ctx context.Context) ([]string, error) {
	all, err := cloud.Paged(ctx, func(ctx context.Context, t *string) ([]string, *string, error) {
		o, err := cloud.EKS(s.aws).ListNodegroups(ctx, &eks.ListNodegroupsInput{ClusterName: &s.spec.Name, NextToken: t})
		return field(o, err, func() ([]string, *string) { return o.Nodegroups, o.NextToken })
	})
	if cloud.IsNotFound(err) {
		return nil, nil
	}
	return all, err
}

func nodeGroup(sp Spec, p *groupPart, needs []string) resource {
	name := sp.Name + "/" + p.Name
	return resource{
		Kind: kindGroup, Name: name, Needs: needs, Expect: 115 * time.Second, Gone: 380 * time.Second, Timeout: 30 * time.Minute,
		Observe: func(ctx context.Context, s *state) (status, error) {
			g, err := s.describeGroup(ctx, p.Name)
			if err != nil || g == nil {
				return absent, err
			}
			p.arn, p.tags = aws.ToString(g.NodegroupArn), g.Tags
			if len(p.Zones) == 0 {
				p.short = strings.Fields(g.Tags[tagShort])
			}
			if !s.down {
				if err := s.resolveRelease(ctx, p, g); err != nil {
					return absent, err
				}
			}
			st, err := s.groupStatus(p, g, name)
			if err == nil && !s.down && !st.Foreign {
				err = s.neverJoins(ctx, p, g, name)
			}
			return st, err
		},
		Create: func(ctx context.Context, s *state) error { return s.createGroup(ctx, p, name) },
		Update: func(ctx context.Context, s *state, drift []string) error {
			if owned.Of(drift, "status") {
				return s.replaceFailed(ctx, p, name)
			}
			return s.updateGroup(ctx, p)
		},
		Delete: func(ctx context.Context, s *state) error {
			_, err := cloud.EKS(s.aws).DeleteNodegroup(ctx, &eks.DeleteNodegroupInput{ClusterName: &sp.Name, NodegroupName: &p.Name})
			return err
		},
	}
}

func (s *state) groupStatus(p *groupPart, g *ekstypes.Nodegroup, name string) (status, error) {
	st := status{
		Exists: true, Ready: g.Status == ekstypes.NodegroupStatusActive || g.Status == ekstypes.NodegroupStatusDegraded,
		Detail: string(g.Status), ID: p.Name, ARN: p.arn, Foreign: !cloud.Ours(g.Tags, s.owner, kindGroup, name),
	}
	if s.down {
		return st, nil
	}
	issues := groupIssues(g)
	switch {
	case g.Status == ekstypes.NodegroupStatusDeleting && !s.madeNow(kindGroup, name):
		st.Drift = []string{"status: have DELETING, want ACTIVE"} // by a run that was cut off: it is awaited, then made anew
		return st, nil
	case g.Status == ekstypes.NodegroupStatusDeleting:
		return st, &steps.Error{Code: "NodegroupDeleting", Category: steps.Conflict, Retryable: true, Message: "the node group is being deleted", Hints: []string{"run again in about 6 minutes"}}
	case g.Status == ekstypes.NodegroupStatusCreateFailed && !s.madeNow(kindGroup, name):
		p.short = append(p.short, s.withoutRoom(p, g)...)
		st.Drift = []string{"status: have " + st.Detail + " (" + issues + "), want ACTIVE"}
		return st, nil
	case (g.Status == ekstypes.NodegroupStatusCreateFailed || g.Status == ekstypes.NodegroupStatusCreating) && len(s.withoutRoom(p, g)) > 0:
		short := s.withoutRoom(p, g)
		p.short = append(p.short, short...)
		s.env.Note(fmt.Sprintf("%s: no room for its nodes in %s; it is made again in %s", name, strings.Join(short, ", "), strings.Join(p.zones(), ", ")))
		st.Redo = []string{"status: have " + st.Detail + ", want ACTIVE without " + strings.Join(short, ", ")}
		return st, nil
	case g.Status == ekstypes.NodegroupStatusCreateFailed, g.Status == ekstypes.NodegroupStatusCreating && issues != "":
		// EKS goes on trying for 20 minutes; what it complains of while it creates does not pass by itself.
		return st, &steps.Error{Code: "NodegroupFailed", Category: steps.Unhealthy, Message: "the nodes do not come up: " + issues, Hints: groupHints(g)}
	}
	st.Drift = s.groupDrift(p, g)
	return st, nil
}

func groupIssues(g *ekstypes.Nodegroup) string {
	var out []string
	if g.Health != nil {
		for _, i := range g.Health.Issues {
			out = append(out, fmt.Sprintf("%s: %s %v", i.Code, aws.ToString(i.Message), i.ResourceIds))
		}
	}
	return strings.Join(out, "; ")
}

func groupHints(g *ekstypes.Nodegroup) []string {
	hints := []string{}
	if g.Health == nil {
		return hints
	}
	for _, i := range g.Health.Issues {
		switch i.Code {
		case ekstypes.NodegroupIssueCodeNodeCreationFailure:
			if g.AmiType == ekstypes.AMITypesCustom {
				hints = append(hints, "an image of your own joins only when it is of launchTemplate.amiFamily: look at what a node says: aws ec2 get-console-output --instance-id ID")
			}
			hints = append(hints, "the nodes run but do not join: check that their subnets have a way out (network.nat) and that the endpoint is reachable from inside (endpoint.private)")
		case ekstypes.NodegroupIssueCodeAsgInstanceLaunchFailures, ekstypes.NodegroupIssueCodeInstanceLimitExceeded:
			hints = append(hints, "add more nodeGroups[].instanceTypes or zones, or ask for more vCPUs in Service Quotas; the next run replaces the failed node group")
		case ekstypes.NodegroupIssueCodeAccessDenied, ekstypes.NodegroupIssueCodeIamNodeRoleNotFound:
			hints = append(hints, "the nodes' role was changed: run again, it is mended")
		case ekstypes.NodegroupIssueCodeInsufficientFreeAddresses:
			hints = append(hints, "the subnets are full: use larger ones in network.privateSubnets")
		}
	}
	return hints
}

func (s *state) groupDrift(p *groupPart, g *ekstypes.Nodegroup) []string {
	var d owned.Drift
	d.Fixed("instanceTypes", g.InstanceTypes, p.InstanceTypes)
	if p.AMIType != "" {
		d.Fixed("amiType", g.AmiType, p.AMIType)
	}
	if g.CapacityType != "" {
		d.Fixed("capacityType", g.CapacityType, p.CapacityType)
	}
	if want := s.versionDrift(g); want != "" {
		d.Mend("version", aws.ToString(g.Version), want)
	}
	s.releaseDrift(&d, p, g)
	if want := p.subnetIDs(); !slices.Contains(want, "") {
		d.Fixed("subnets", sortedCopy(g.Subnets), sortedCopy(want))
	}
	if c := g.ScalingConfig; c != nil {
		d.Mend("min", aws.ToInt32(c.MinSize), p.Min)
		d.Mend("max", aws.ToInt32(c.MaxSize), p.Max)
		if p.Stopped || stopped(c) {
			d.Mend("desired", aws.ToInt32(c.DesiredSize), *p.Desired)
		}
	}
	if u := g.UpdateConfig; u != nil && p.UpdateConfig != (UpdateConfig{}) {
		d.Mend("updateConfig.maxUnavailable", aws.ToInt32(u.MaxUnavailable), p.UpdateConfig.MaxUnavailable)
		d.Mend("updateConfig.maxUnavailablePercentage", aws.ToInt32(u.MaxUnavailablePercentage), p.UpdateConfig.MaxUnavailablePercentage)
	}
	d.Mend("labels", labelText(g.Labels), labelText(p.Labels))
	d.Mend("taints", taintText(g.Taints), taintText(p.taints()))
	if lt := g.LaunchTemplate; lt != nil && p.templateVersion != "" {
		d.Mend("launchTemplate.version", aws.ToString(lt.Version), p.templateVersion)
	}
	return d
}

// versionDrift is the version that the nodes are to have, "" where it is no business of the spec's, or of EKS's.
func (s *state) versionDrift(g *ekstypes.Nodegroup) string {
	if s.spec.Version == "" || !behind(g, s.spec.Version) {
		return ""
	}
	return s.spec.Version
}

// stopped reports sizes that only `stopped: true` gives. EKS knows no maximum below 1; an autoscaler never changes it.
func stopped(c *ekstypes.NodegroupScalingConfig) bool {
	return aws.ToInt32(c.MinSize) == 0 && aws.ToInt32(c.DesiredSize) == 0 && aws.ToInt32(c.MaxSize) == 1
}

// homes are the subnets that the group's nodes are in.
func (p *groupPart) homes() []*subnetPart {
	return slices.DeleteFunc(slices.Clone(p.subnets), func(sub *subnetPart) bool { return slices.Contains(p.short, sub.zone) })
}

func (p *groupPart) subnetIDs() []string {
	var ids []string
	for _, sub := range p.homes() {
		ids = append(ids, sub.id)
	}
	return ids
}

func (p *groupPart) zones() []string {
	zones := []string{}
	for _, sub := range p.homes() {
		zones = append(zones, sub.zone)
	}
	return zones
}

var effects = map[string]ekstypes.TaintEffect{
	"NoSchedule": ekstypes.TaintEffectNoSchedule, "PreferNoSchedule": ekstypes.TaintEffectPreferNoSchedule, "NoExecute": ekstypes.TaintEffectNoExecute,
}

func (g NodeGroup) taints() []ekstypes.Taint {
	var out []ekstypes.Taint
	for _, t := range g.Taints {
		x := ekstypes.Taint{Key: aws.String(t.Key), Effect: effects[t.Effect]}
		if t.Value != "" {
			x.Value = aws.String(t.Value)
		}
		out = append(out, x)
	}
	return out
}

func taintText(ts []ekstypes.Taint) []string {
	var out []string
	for _, t := range ts {
		out = append(out, aws.ToString(t.Key)+"="+aws.ToString(t.Value)+":"+string(t.Effect))
	}
	return sortedCopy(out)
}

func labelText(m map[string]string) []string {
	var out []string
	for k, v := range m {
		out = append(out, k+"="+v)
	}
	return sortedCopy(out)
}
