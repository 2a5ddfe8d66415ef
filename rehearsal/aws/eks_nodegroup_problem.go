package aws

import (
	"strings"
)

// launchProblem is why no instance would start at all.
func (c *Cloud) launchProblem(g *nodegroup, doomed bool) (code, message string) {
	if doomed {
		return "AsgInstanceLaunchFailures", "Could not launch On-Demand Instances. InsufficientInstanceCapacity - We currently do not have sufficient " + g.types[0] +
			" capacity in the Availability Zone you requested. Our system will be working on provisioning additional capacity. Launching EC2 instance failed."
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
		if t := typeNamed(i.typ); t != nil && i.state == "running" {
			running += t.vcpu
		}
	}
	if t := typeNamed(g.types[0]); t != nil && running+t.vcpu*g.desired > c.quota("L-1216C47A") {
		return "AsgInstanceLaunchFailures", "Could not launch On-Demand Instances. VcpuLimitExceeded - You have requested more vCPU capacity than your current vCPU limit of " + itoa(c.quota("L-1216C47A")) + " allows for the instance bucket that the specified instance type belongs to."
	}
	return "", ""
}

// joinProblem: no way out of the subnet, or a role that cannot pull images or set up the network.
func (c *Cloud) joinProblem(g *nodegroup) string {
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
