package aws

import (
	"slices"
)

// balancerZone is the hosted zone of load balancers' names in the fixture's region.
const balancerZone = "ZWKZPGTI48KDX"

func (c *Cloud) describeBalancers(req *request) (any, error) {
	wanted := list(req, "LoadBalancerArns.member")
	var rows []node
	for _, b := range c.balancers {
		if b.kind == "classic" || len(wanted) > 0 && !slices.Contains(wanted, b.arn) {
			continue
		}
		rows = append(rows, group("", el("LoadBalancerArn", b.arn), el("LoadBalancerName", b.name), el("VpcId", b.vpc), el("Type", b.kind), el("CreatedTime", b.created),
			el("Scheme", "internet-facing"), group("State", el("Code", "active")), members("SecurityGroups", texts(b.groups)...),
			el("DNSName", c.balancerHost(b)), el("CanonicalHostedZoneId", balancerZone), el("IpAddressType", "ipv4"), members("AvailabilityZones", c.balancerZones(b)...)))
	}
	if len(wanted) > len(rows) {
		return nil, fail("LoadBalancerNotFound", "One or more load balancers not found")
	}
	return balancerPage(c, req, "LoadBalancers", rows)
}

// balancerHost is the name by which clients reach a load balancer.
func (c *Cloud) balancerHost(b *balancer) string {
	kind := map[string]string{"network": ".elb." + c.opt.Region}[b.kind]
	if kind == "" {
		kind = "." + c.opt.Region + ".elb"
	}
	return b.name + "-" + digits(b.name+b.arn, 16) + kind + "." + c.domain()
}

// balancerZones are the zones of its subnets.
func (c *Cloud) balancerZones(b *balancer) []node {
	var out []node
	for _, id := range b.subnets {
		if sn, err := c.ec2.subnets.get(id); err == nil {
			out = append(out, group("", el("ZoneName", sn.zone), el("SubnetId", id)))
		}
	}
	return out
}

// balancerPage is ELB's way of pages.
func balancerPage(c *Cloud, req *request, name string, rows []node) ([]node, error) {
	page, next, err := byMarker(c, req, "PageSize", 400, rows)
	if err != nil {
		return nil, err
	}
	return []node{members(name, page...), opt("NextMarker", next)}, nil
}

func (c *Cloud) describeTargetGroups(req *request) (any, error) {
	arn := req.form.Get("LoadBalancerArn")
	var rows []node
	for _, b := range c.balancers {
		for _, t := range b.targets {
			if arn == "" || b.arn == arn {
				rows = append(rows, group("", append(t.nodes(), members("LoadBalancerArns", texts([]string{b.arn})...))...))
			}
		}
	}
	for _, t := range c.loneTargets {
		if arn == "" {
			rows = append(rows, group("", t.nodes()...))
		}
	}
	if arn != "" && c.balancerWhere(func(b *balancer) bool { return b.arn == arn }) == nil {
		return nil, fail("LoadBalancerNotFound", "One or more load balancers not found")
	}
	return balancerPage(c, req, "TargetGroups", rows)
}

// nodes is a target group as a controller of a cluster makes them: the nodes, by a port of each.
func (t *targetGroup) nodes() []node {
	protocol := map[string]string{"application": "HTTP"}[t.kind]
	if protocol == "" {
		protocol = "TCP"
	}
	return []node{
		el("TargetGroupArn", t.arn), el("TargetGroupName", t.name), el("VpcId", t.vpc), el("Protocol", protocol), el("Port", 80), el("TargetType", "instance"), el("IpAddressType", "ipv4"),
		el("HealthCheckEnabled", true), el("HealthCheckProtocol", protocol), el("HealthCheckPort", "traffic-port"), el("HealthCheckIntervalSeconds", 10), el("HealthCheckTimeoutSeconds", 10),
		el("HealthyThresholdCount", 3), el("UnhealthyThresholdCount", 3),
	}
}

func (c *Cloud) describeClassic(req *request) (any, error) {
	var rows []node
	for _, b := range c.balancers {
		if b.kind == "classic" {
			rows = append(rows, group("", append(c.classicListeners(b), el("LoadBalancerName", b.name), el("VPCId", b.vpc), el("CreatedTime", b.created),
				el("Scheme", "internet-facing"), el("DNSName", c.balancerHost(b)), el("CanonicalHostedZoneName", c.balancerHost(b)),
				members("Subnets", texts(b.subnets)...), members("SecurityGroups", texts(b.groups)...))...))
		}
	}
	return balancerPage(c, req, "LoadBalancerDescriptions", rows)
}

// classicListeners is what a Service of type LoadBalancer has a classic load balancer listen to and hand on to. Its nodes are not told.
func (c *Cloud) classicListeners(b *balancer) []node {
	var zones []string
	for _, id := range b.subnets {
		if sn, err := c.ec2.subnets.get(id); err == nil {
			zones = append(zones, sn.zone)
		}
	}
	source := "default"
	if len(b.groups) > 0 {
		source = "k8s-elb-" + b.name
	}
	listener := group("Listener", el("Protocol", "TCP"), el("LoadBalancerPort", 80), el("InstanceProtocol", "TCP"), el("InstancePort", 30080))
	return []node{
		members("AvailabilityZones", texts(zones)...), members("Instances"), members("BackendServerDescriptions"),
		members("ListenerDescriptions", group("", listener, members("PolicyNames"))),
		group("Policies", members("AppCookieStickinessPolicies"), members("LBCookieStickinessPolicies"), members("OtherPolicies")),
		group("SourceSecurityGroup", el("OwnerAlias", c.opt.Account), el("GroupName", source)),
	}
}
