package aws

import (
	"net/netip"
	"slices"
	"strings"
)

// launchProblem is why no instance would start at all.
func (c *Cloud) launchProblem(g *nodegroup, doomed *Fault) (code, message string) {
	if message := c.capacityProblem(g, doomed); message != "" {
		return "AsgInstanceLaunchFailures", message
	}
	for _, id := range g.subnets {
		sn, ok := c.ec2.subnets.find(id)
		if !ok {
			return "Ec2SubnetNotFound", "The subnet " + id + " was not found"
		}
		if c.egress(sn) == "igw" && !sn.publicIP {
			return "Ec2SubnetInvalidConfiguration", "One or more Amazon EC2 Subnets of [" + id + "] for node group " + g.name + " does not automatically assign public IP addresses to instances launched into it. If you want your instances to be assigned a public IP address, then you need to enable auto-assign public IP address for the subnet."
		}
		for _, z := range c.zones() {
			for _, family := range z.lacks {
				if z.name == sn.zone && strings.HasPrefix(g.types[0], family+".") {
					return "AsgInstanceLaunchFailures", "Could not launch On-Demand Instances. Unsupported - Your requested instance type (" + g.types[0] + ") is not supported in your requested Availability Zone (" + z.name + "). Launching EC2 instance failed."
				}
			}
		}
	}
	running := 0
	for _, i := range c.ec2.instances.rows {
		if t := typeNamed(i.typ); t != nil && i.state == "running" && i.spot == g.spot() {
			running += t.vcpu
		}
	}
	t := typeNamed(g.types[0])
	switch {
	case t == nil:
	case g.spot() && running+t.vcpu*g.desired > c.quota("L-34B43A08"):
		return "AsgInstanceLaunchFailures", "Could not launch Spot Instances. MaxSpotInstanceCountExceeded - Max spot instance count exceeded. Launching EC2 instance failed."
	case !g.spot() && running+t.vcpu*g.desired > c.quota("L-1216C47A"):
		return "AsgInstanceLaunchFailures", "Could not launch On-Demand Instances. VcpuLimitExceeded - You have requested more vCPU capacity than your current vCPU limit of " + itoa(c.quota("L-1216C47A")) + " allows for the instance bucket that the specified instance type belongs to."
	}
	return "", ""
}

// capacityProblem words a lack of capacity as EC2 does: it names the zone, and those that still have some.
func (c *Cloud) capacityProblem(g *nodegroup, f *Fault) string {
	if f == nil {
		return ""
	}
	const lead, tail = "Could not launch On-Demand Instances. InsufficientInstanceCapacity - We currently do not have sufficient ", " Launching EC2 instance failed."
	typ := g.types[0]
	if f.Zone == "" {
		return lead + typ + " capacity in the Availability Zone you requested. Our system will be working on provisioning additional capacity." + tail
	}
	if !slices.ContainsFunc(g.subnets, func(id string) bool {
		sn, ok := c.ec2.subnets.find(id)
		return ok && sn.zone == f.Zone
	}) {
		return ""
	}
	var others []string
	for _, z := range c.zones() {
		if z.name != f.Zone && z.kind2 == "availability-zone" && !slices.Contains(z.lacks, strings.Split(typ, ".")[0]) {
			others = append(others, z.name)
		}
	}
	return lead + typ + " capacity in the Availability Zone you requested (" + f.Zone + "). Our system will be working on provisioning additional capacity. You can currently get " +
		typ + " capacity by not specifying an Availability Zone in your request or choosing " + strings.Join(others, ", ") + "." + tail
}

// joinProblem: no way out of the subnet or into the endpoint, no access, no word of which cluster, or a role that cannot pull images or set up
// the network.
func (c *Cloud) joinProblem(cl *cluster, g *nodegroup) string {
	if cl.mode != "CONFIG_MAP" && cl.entries[g.role] == nil {
		return "the node role has no access entry"
	}
	if a := cl.addons["vpc-cni"]; a != nil && a.status == "CREATE_FAILED" {
		return "there is no network plugin"
	}
	if c.endpointShut(cl, g) {
		return "the endpoint does not let the nodes in"
	}
	if problem := c.userDataProblem(cl, g); problem != "" {
		return problem
	}
	for _, i := range g.instances {
		sn, ok := c.ec2.subnets.find(i.subnet)
		if !ok || c.egress(sn) == "" {
			return "no route out of subnet " + i.subnet
		}
	}
	r := c.roleByARN(g.role)
	if r == nil {
		return "the node role is gone"
	}
	for _, either := range [][]string{{"AmazonEKS_CNI_Policy"}, {"AmazonEC2ContainerRegistryReadOnly", "AmazonEC2ContainerRegistryPullOnly"}} {
		found := false
		for _, p := range r.attached {
			for _, want := range either {
				found = found || strings.HasSuffix(p, "/"+want)
			}
		}
		if !found {
			return "the node role lacks " + either[0]
		}
	}
	return ""
}

// endpointShut: nodes without the private endpoint come from the address of their NAT gateway.
func (c *Cloud) endpointShut(cl *cluster, g *nodegroup) bool {
	net := object(cl.doc, "resourcesVpcConfig")
	if flag(net, "endpointPrivateAccess") {
		return false
	}
	for _, i := range g.instances {
		sn, ok := c.ec2.subnets.find(i.subnet)
		if !ok {
			continue
		}
		rt := c.tableOf(sn)
		if rt == nil {
			continue
		}
		for _, r := range rt.routes {
			n, ok := c.ec2.nats.find(r.target)
			if !ok {
				continue
			}
			ip, err := netip.ParseAddr(n.publicIP)
			if err == nil && !slices.ContainsFunc(cidrsOf(net), func(cidr string) bool {
				p, err := netip.ParsePrefix(cidr)
				return err == nil && p.Contains(ip)
			}) {
				return true
			}
		}
	}
	return false
}

// spot reports a group whose instances are spot ones.
func (g *nodegroup) spot() bool { return text(g.doc, "capacityType") == "SPOT" }
