package provisioneks

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/cloud"
	"pipectl.dev/steps/reconcile"
)

// leftGroup is a node group of ours that the spec no longer has, or only its launch template.
type leftGroup struct {
	name       string
	templateID string
	group      *ekstypes.Nodegroup // nil: only the template is left
}

// leftGroups looks for node groups that the spec does not name. Those of ours are retired by a run that prunes; those of others are left alone.
func (s *state) leftGroups(ctx context.Context) error {
	named := func(name string) bool {
		return slices.ContainsFunc(s.spec.NodeGroups, func(g NodeGroup) bool { return g.Name == name })
	}
	var names []string
	if c, _ := s.look.cluster.Peek(); c != nil && cloud.Ours(c.Tags, s.owner, kindCluster, s.spec.Name) {
		var err error
		if names, err = s.groupNames(ctx); err != nil {
			return cloud.Explain(err)
		}
	}
	groups, err := s.describeGroups(ctx, slices.DeleteFunc(names, named))
	if err != nil {
		return cloud.Explain(err)
	}
	for _, g := range groups {
		if name := aws.ToString(g.NodegroupName); cloud.Ours(g.Tags, s.owner, kindGroup, s.name(name)) {
			s.oldGroups = append(s.oldGroups, &leftGroup{name: name, group: &g})
		}
	}
	templates, err := s.look.templates.Get(ctx, "left groups")
	if err != nil {
		return cloud.Explain(err)
	}
	for _, t := range templates {
		full, ours := s.mine(t.Tags, kindTemplate)
		name := strings.TrimPrefix(full, s.spec.Name+"/")
		used := slices.ContainsFunc(s.oldGroups, func(g *leftGroup) bool { return g.name == name })
		if ours && !used && !named(name) && !slices.ContainsFunc(groups, func(g ekstypes.Nodegroup) bool { return aws.ToString(g.NodegroupName) == name }) {
			s.oldGroups = append(s.oldGroups, &leftGroup{name: name})
		}
	}
	return nil
}

// foretell says what becomes of old groups, of the pods on their nodes, and of volumes that no node will reach.
func (s *state) foretell(ctx context.Context) error {
	if len(s.stranded) > 0 {
		s.notes = append(s.notes, "volumes of this pipeline are in "+strings.Join(s.stranded, ", ")+", where the network gets no subnet: no node will reach them")
	}
	for _, name := range s.stayers {
		s.notes = append(s.notes, "node group "+name+" stays in the public subnets, which it cannot leave: one of another name in its place would be in the private ones")
	}
	for _, old := range s.oldGroups {
		g := old.group
		if g == nil || g.Status == ekstypes.NodegroupStatusDeleting {
			continue
		}
		text := fmt.Sprintf("node group %s is no longer under `nodeGroups`: ", old.name)
		if !s.env.Prune {
			text += s.nodesOf(g) + " stay until `pipectl run --prune`, which drains and removes them"
			if v := s.spec.Version; v != "" && farBehind(g, v) {
				text += "; they are upgraded too, for EKS takes no control plane to " + v + " that has node groups more than one minor version behind"
			}
			s.notes = append(s.notes, text)
			continue
		}
		text += "once those of the file are ready " + s.nodesOf(g) + " are drained, and the group is removed"
		alone, err := s.onlyIn(ctx, g)
		if err != nil {
			return cloud.Explain(err)
		}
		if len(alone) > 0 {
			text += "; no other is in " + strings.Join(alone, ", ") + ": pods with volumes there will find no node"
		}
		s.notes = append(s.notes, text)
	}
	return nil
}

// nodesOf counts a group's nodes and what they cost.
func (s *state) nodesOf(g *ekstypes.Nodegroup) string {
	n := int32(0)
	if g.ScalingConfig != nil {
		n = aws.ToInt32(g.ScalingConfig.DesiredSize)
	}
	price := ""
	if len(g.InstanceTypes) > 0 && n > 0 {
		item := g.InstanceTypes[0]
		if g.CapacityType == ekstypes.CapacityTypesSpot {
			item = "spot:" + item
		}
		price = fmt.Sprintf(" (%s%s)", g.InstanceTypes[0], s.perDay(item, float64(n)))
	}
	return fmt.Sprintf("its %d nodes%s", n, price)
}

// onlyIn are the zones of a group that no group of the spec is in.
func (s *state) onlyIn(ctx context.Context, g *ekstypes.Nodegroup) ([]string, error) {
	subnets, err := s.look.subnets.Get(ctx, "zones of old groups")
	if err != nil {
		return nil, err
	}
	var covered, out []string
	for _, p := range s.lay.groups {
		covered = append(covered, p.zones()...)
	}
	add := func(id, zone string) {
		if slices.Contains(g.Subnets, id) && zone != "" && !slices.Contains(covered, zone) && !slices.Contains(out, zone) {
			out = append(out, zone)
		}
	}
	for _, sub := range subnets {
		add(aws.ToString(sub.SubnetId), aws.ToString(sub.AvailabilityZone))
	}
	for _, p := range s.subnets() { // of a VPC of somebody else's
		add(p.id, p.zone)
	}
	slices.Sort(out)
	return out, nil
}

// retiredGroups removes them once every group of the spec is ready, so that what is drained finds other nodes.
func (s *state) retiredGroups() []resource {
	if !s.env.Prune {
		return nil
	}
	needs := []string{}
	for _, p := range s.lay.groups {
		needs = append(needs, reconcile.ID(kindGroup, s.name(p.Name)))
	}
	var rs []resource
	for _, old := range s.oldGroups {
		g := nodeGroup(s.spec, &groupPart{NodeGroup: NodeGroup{Name: old.name}}, needs)
		g.Retired, g.Create, g.Update = true, nil, nil
		g.Observe = func(ctx context.Context, s *state) (status, error) { return s.oldGroup(ctx, old.name) }
		t := launchTemplate(s.spec, &groupPart{NodeGroup: NodeGroup{Name: old.name}}, []string{g.ID()})
		t.Retired, t.Create, t.Update = true, nil, nil
		t.Observe = func(ctx context.Context, s *state) (status, error) { return s.oldTemplate(ctx, old) }
		t.Delete = func(ctx context.Context, s *state) error { return s.deleteTemplate(ctx, old.templateID) }
		rs = append(rs, g, t)
	}
	return rs
}

func (s *state) oldGroup(ctx context.Context, name string) (status, error) {
	g, err := s.describeGroup(ctx, name)
	if err != nil || g == nil {
		return absent, err
	}
	return status{Exists: true, Ready: true, Detail: string(g.Status), ID: name, ARN: aws.ToString(g.NodegroupArn), Foreign: !cloud.Ours(g.Tags, s.owner, kindGroup, s.name(name))}, nil
}

func (s *state) oldTemplate(ctx context.Context, old *leftGroup) (status, error) {
	t, err := s.findTemplate(ctx, "old "+old.name, s.name(old.name))
	if err != nil || t == nil {
		return absent, err
	}
	old.templateID = aws.ToString(t.LaunchTemplateId)
	return status{Exists: true, Ready: true, ID: old.templateID}, nil
}
