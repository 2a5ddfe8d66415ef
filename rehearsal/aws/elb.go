package aws

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// balancer is a load balancer of either generation. Controllers in a cluster make them; see SeedLoadBalancer.
type balancer struct {
	name, arn, kind, vpc string // kind: classic, network, application
	subnets, groups      []string
	interfaces           []string
	targets              []*targetGroup
	tags                 map[string]string
	created              time.Time
}

// targetGroup outlives the load balancer that it was made for.
type targetGroup struct {
	arn, vpc, name, kind string // kind: that of its load balancer
	tags                 map[string]string
}

// Both generations are one service to IAM and to signatures; their API versions tell them apart.
var (
	balancerOperations = map[string]operation{
		"DescribeLoadBalancers": reads((*Cloud).describeBalancers),
		"DescribeTags":          reads((*Cloud).describeBalancerTags),
		"DescribeTargetGroups":  reads((*Cloud).describeTargetGroups),
		"DeleteLoadBalancer":    writes((*Cloud).deleteBalancer, "LoadBalancerArn"),
		"DeleteTargetGroup":     writes((*Cloud).deleteTargetGroup, "TargetGroupArn"),
	}
	classicOperations = map[string]operation{
		"DescribeLoadBalancers": reads((*Cloud).describeClassic),
		"DescribeTags":          reads((*Cloud).describeClassicTags),
		"DeleteLoadBalancer":    writes((*Cloud).deleteClassic, "LoadBalancerName"),
	}
)

// iamService is the service's name in IAM actions, in the ledger and in faults.
func iamService(service string) string {
	switch service {
	case "elb", "elbv2":
		return "elasticloadbalancing"
	default:
		return service
	}
}

// LoadBalancerSeed describes a load balancer that a controller in a cluster makes.
type LoadBalancerSeed struct {
	Name, Kind string   // classic, network, application
	Subnets    []string // ids, in one VPC
	Tags       map[string]string
	Group      bool // also a security group of its own, with the same tags
}

// SeedLoadBalancer does what a controller of a cluster does for a Service or an Ingress.
func (c *Cloud) SeedLoadBalancer(s LoadBalancerSeed) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := &balancer{name: s.Name, kind: s.Kind, subnets: s.Subnets, tags: s.Tags, created: time.Now()}
	if s.Kind != "classic" {
		path := map[string]string{"network": "net", "application": "app"}[s.Kind] + "/" + s.Name + "/" + c.hex(16)
		b.arn = c.arn("elasticloadbalancing", "loadbalancer/"+path)
	}
	for _, id := range s.Subnets {
		sn, err := c.ec2.subnets.get(id)
		if err != nil {
			return fmt.Errorf("seed load balancer: %w", err)
		}
		if b.vpc = sn.vpc; s.Group && len(b.groups) == 0 {
			g := c.addGroup(nil, sn.vpc, "k8s-elb-"+s.Name, "Security group for Kubernetes ELB "+s.Name)
			for k, v := range s.Tags {
				g.tags[k] = v
			}
			b.groups = []string{g.id}
		}
		e, ok := c.newInterface(sn, "ELB "+strings.TrimPrefix(b.arn, c.arn("elasticloadbalancing", "loadbalancer/")), b.groups)
		if !ok {
			return fmt.Errorf("seed load balancer: subnet %s is full", id)
		}
		e.managed, e.requester, e.publicIP = true, "amazon-elb", c.publicAddress()
		b.interfaces = append(b.interfaces, e.id)
	}
	if s.Kind != "classic" {
		b.targets = []*targetGroup{{arn: c.arn("elasticloadbalancing", "targetgroup/"+s.Name+"/"+c.hex(16)), vpc: b.vpc, name: s.Name, kind: s.Kind, tags: s.Tags}}
	}
	c.balancers = append(c.balancers, b)
	return nil
}

func (c *Cloud) balancerWhere(is func(*balancer) bool) *balancer {
	i := slices.IndexFunc(c.balancers, is)
	if i < 0 {
		return nil
	}
	return c.balancers[i]
}

func (c *Cloud) describeBalancerTags(req *request) (any, error) {
	arns := list(req, "ResourceArns.member")
	if len(arns) > 20 {
		return nil, fail("ValidationError", "At most 20 resources")
	}
	var rows []node
	for _, arn := range arns {
		tags, err := c.balancerTags(arn)
		if err != nil {
			return nil, err
		}
		rows = append(rows, group("", el("ResourceArn", arn), memberTagNodes(tags)))
	}
	return []node{members("TagDescriptions", rows...)}, nil
}

// balancerTags are the tags of a load balancer or of a target group.
func (c *Cloud) balancerTags(arn string) (map[string]string, error) {
	if b := c.balancerWhere(func(b *balancer) bool { return b.arn == arn && arn != "" }); b != nil {
		return b.tags, nil
	}
	all := slices.Clone(c.loneTargets)
	for _, b := range c.balancers {
		all = append(all, b.targets...)
	}
	if i := slices.IndexFunc(all, func(t *targetGroup) bool { return t.arn == arn }); i >= 0 {
		return all[i].tags, nil
	}
	if strings.Contains(arn, ":targetgroup/") {
		return nil, fail("TargetGroupNotFound", "One or more target groups not found")
	}
	return nil, fail("LoadBalancerNotFound", "One or more load balancers not found")
}

// deleteBalancer succeeds for one that is gone, as ELB does. Its interfaces go a little later, its target groups stay.
func (c *Cloud) deleteBalancer(req *request) (any, error) {
	return c.dropBalancer(req, func(b *balancer) bool { return b.arn == req.form.Get("LoadBalancerArn") })
}

func (c *Cloud) dropBalancer(req *request, is func(*balancer) bool) (any, error) {
	b := c.balancerWhere(is)
	if b == nil {
		return nil, nil
	}
	c.balancers = slices.DeleteFunc(c.balancers, func(x *balancer) bool { return x == b })
	c.loneTargets = append(c.loneTargets, b.targets...)
	req.deleted = append(req.deleted, b.name)
	c.after(c.nominal("elb:ReleaseInterfaces"), func() {
		for _, id := range b.interfaces {
			c.ec2.interfaces.remove(id)
		}
	})
	return nil, nil
}

func (c *Cloud) deleteTargetGroup(req *request) (any, error) {
	arn := req.form.Get("TargetGroupArn")
	is := func(t *targetGroup) bool { return t.arn == arn }
	if c.balancerWhere(func(b *balancer) bool { return slices.ContainsFunc(b.targets, is) }) != nil {
		return nil, fail("ResourceInUse", "Target group '%s' is currently in use by a listener or a rule", arn)
	}
	c.loneTargets = slices.DeleteFunc(c.loneTargets, is)
	return nil, nil
}

func (c *Cloud) describeClassicTags(req *request) (any, error) {
	var rows []node
	for _, name := range list(req, "LoadBalancerNames.member") {
		b := c.balancerWhere(func(b *balancer) bool { return b.kind == "classic" && b.name == name })
		if b == nil {
			return nil, fail("LoadBalancerNotFound", "There is no ACTIVE Load Balancer named '%s'", name)
		}
		rows = append(rows, group("", el("LoadBalancerName", name), memberTagNodes(b.tags)))
	}
	return []node{members("TagDescriptions", rows...)}, nil
}

func (c *Cloud) deleteClassic(req *request) (any, error) {
	return c.dropBalancer(req, func(b *balancer) bool { return b.kind == "classic" && b.name == req.form.Get("LoadBalancerName") })
}

// RemoveLoadBalancer does what a controller does when its Service or Ingress goes.
func (c *Cloud) RemoveLoadBalancer(name string) {
	c.mu.Lock()
	defer c.unlock()
	b := c.balancerWhere(func(b *balancer) bool { return b.name == name })
	if b == nil {
		return
	}
	_, _ = c.dropBalancer(&request{}, func(x *balancer) bool { return x == b })
	c.loneTargets = slices.DeleteFunc(c.loneTargets, func(t *targetGroup) bool { return slices.Contains(b.targets, t) })
}

func (c *Cloud) inspectBalancers() []Resource {
	var out []Resource
	for _, b := range c.balancers {
		out = append(out, Resource{Kind: "elb:" + b.kind, ID: b.arn, Name: b.name, State: "active", Tags: b.tags})
	}
	for _, t := range c.loneTargets {
		out = append(out, Resource{Kind: "elb:target-group", ID: t.arn, Tags: t.tags})
	}
	return out
}
