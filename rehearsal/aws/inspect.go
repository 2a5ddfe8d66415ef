package aws

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Resource is one live resource of the account.
type Resource struct {
	Kind  string // vpc, subnet, natgateway, eks:cluster, eks:nodegroup, iam:role, ssm:parameter ...
	ID    string // id, ARN or name
	Name  string
	State string
	Tags  map[string]string
	// Managed: AWS made it on behalf of another resource, and removes it with that one.
	Managed bool
	// Seeded: it was there before the run.
	Seeded bool
}

func (r Resource) String() string { return fmt.Sprintf("%s %s %s %s", r.Kind, r.ID, r.Name, r.State) }

// Resources lists all that exists and may cost money or block a deletion, in a fixed order. Deleted NAT gateways and
// terminated instances, which AWS shows for an hour, are not listed.
func (c *Cloud) Resources() []Resource {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resources()
}

func (c *Cloud) resources() []Resource {
	var out []Resource
	for _, t := range c.everyEC2() {
		if r, ok := c.inspectEC2(t); ok {
			out = append(out, r)
		}
	}
	for _, name := range sortedKeys(c.eks) {
		out = append(out, c.inspectCluster(c.eks[name])...)
	}
	for _, name := range sortedKeys(c.iam.roles) {
		r := c.iam.roles[name]
		out = append(out, Resource{Kind: "iam:role", ID: r.arn, Name: r.name, Tags: maps.Clone(r.tags), Managed: strings.HasPrefix(r.path, "/aws-service-role/")})
	}
	for _, arn := range sortedKeys(c.iam.providers) {
		out = append(out, Resource{Kind: "iam:oidc-provider", ID: arn, Tags: maps.Clone(c.iam.providers[arn].tags)})
	}
	for _, arn := range sortedKeys(c.iam.policies) {
		out = append(out, Resource{Kind: "iam:policy", ID: arn, Tags: maps.Clone(c.iam.policies[arn].tags)})
	}
	for _, name := range sortedKeys(c.ssm) {
		out = append(out, Resource{Kind: "ssm:parameter", ID: name, Name: name, Tags: maps.Clone(c.ssm[name].tags)})
	}
	out = append(out, append(c.inspectBalancers(), c.inspectLogs()...)...)
	for i := range out {
		out[i].Seeded = c.seeded[out[i].ID]
	}
	return out
}

func (c *Cloud) inspectEC2(t thing) (Resource, bool) {
	m := t.m()
	r := Resource{Kind: m.kind, ID: m.id, Name: m.tags["Name"], Tags: maps.Clone(m.tags), State: "available"}
	switch t := t.(type) {
	case *vpc:
		r.State = t.state
	case *subnet:
		r.State = t.state
	case *nat:
		r.State = t.state
		return r, t.state != "deleted"
	case *instance:
		r.State, r.Managed = t.state, t.group != ""
		return r, t.state != "terminated"
	case *volume:
		r.State = t.state
		r.Managed = t.attachment != nil && t.attachment.deleteOnTermination
	case *snapshot:
		r.State = t.state
	case *networkInterface:
		r.State, r.Managed = t.status, t.managed || t.instance != ""
	case *securityGroup:
		r.Name = t.name
		r.Managed = t.name == "default" || t.tags["aws:eks:cluster-name"] != ""
	case *routeTable:
		r.Managed = slices.ContainsFunc(t.associations, func(a association) bool { return a.main })
	case *launchTemplate:
		r.Name = t.name
	}
	return r, true
}

func (c *Cloud) inspectCluster(cl *cluster) []Resource {
	out := []Resource{{Kind: "eks:cluster", ID: cl.arn, Name: cl.name, State: cl.status, Tags: maps.Clone(cl.tags)}}
	for _, name := range sortedKeys(cl.groups) {
		g := cl.groups[name]
		out = append(out, Resource{Kind: "eks:nodegroup", ID: g.arn, Name: cl.name + "/" + name, State: g.status, Tags: maps.Clone(g.tags)})
	}
	for _, name := range sortedKeys(cl.addons) {
		a := cl.addons[name]
		out = append(out, Resource{Kind: "eks:addon", ID: a.arn, Name: cl.name + "/" + name, State: a.status, Tags: maps.Clone(a.tags)})
	}
	for _, arn := range sortedKeys(cl.entries) {
		e := cl.entries[arn]
		out = append(out, Resource{Kind: "eks:access-entry", ID: e.arn, Name: cl.name + "/" + arn, Tags: maps.Clone(e.tags), Managed: e.kind == "EC2_LINUX" || arn == c.identity(cl.creator)})
	}
	for _, id := range sortedKeys(cl.pods) {
		out = append(out, Resource{Kind: "eks:pod-identity", ID: cl.pods[id].arn, Name: cl.name + "/" + id, Tags: maps.Clone(cl.pods[id].tags)})
	}
	return out
}

// Leftovers are the live resources that were not seeded, that AWS would not remove by itself and that keep (may be nil) does not excuse.
func (c *Cloud) Leftovers(keep func(Resource) bool) []Resource {
	return slices.DeleteFunc(c.Resources(), func(r Resource) bool {
		return r.Managed || r.Seeded || keep != nil && keep(r)
	})
}

// Duplicates are sets of live resources of one kind that carry equal values for all the given tags.
func (c *Cloud) Duplicates(tagKeys ...string) [][]Resource {
	groups := map[string][]Resource{}
	for _, r := range c.Resources() {
		id := r.Kind
		for _, k := range tagKeys {
			v, ok := r.Tags[k]
			if !ok {
				id = ""
				break
			}
			id += "\x00" + v
		}
		if id != "" && !r.Managed {
			groups[id] = append(groups[id], r)
		}
	}
	var out [][]Resource
	for _, k := range sortedKeys(groups) {
		if len(groups[k]) > 1 {
			out = append(out, groups[k])
		}
	}
	return out
}
