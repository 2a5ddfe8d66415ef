package aws

import (
	"net/netip"
	"strconv"
)

var vpcOperations = map[string]operation{
	"CreateVpc":             writes((*Cloud).createVpc, "CidrBlock"),
	"DeleteVpc":             writes((*Cloud).deleteVpc, "VpcId"),
	"DescribeVpcs":          reads((*Cloud).describeVpcs),
	"ModifyVpcAttribute":    writes((*Cloud).modifyVpcAttribute, "VpcId"),
	"DescribeVpcAttribute":  reads((*Cloud).describeVpcAttribute, "VpcId", "Attribute"),
	"CreateSubnet":          writes((*Cloud).createSubnet, "VpcId", "CidrBlock"),
	"DeleteSubnet":          writes((*Cloud).deleteSubnet, "SubnetId"),
	"DescribeSubnets":       reads((*Cloud).describeSubnets),
	"ModifySubnetAttribute": writes((*Cloud).modifySubnetAttribute, "SubnetId"),
}

var done = []node{el("return", true)}

func (c *Cloud) createVpc(req *request) (any, error) {
	cidr, err := netip.ParsePrefix(req.form.Get("CidrBlock"))
	if err != nil || !cidr.Addr().Is4() {
		return nil, fail("InvalidParameterValue", "Value (%s) for parameter cidrBlock is invalid. This is not a valid CIDR block.", req.form.Get("CidrBlock"))
	}
	if cidr.Bits() < 16 || cidr.Bits() > 28 {
		return nil, fail("InvalidVpc.Range", "The CIDR '%s' is invalid.", cidr)
	}
	if err := badTagSpecification(req, "vpc"); err != nil {
		return nil, err
	}
	if len(c.ec2.vpcs.rows) >= c.quota("L-F678F1CE") {
		return nil, fail("VpcLimitExceeded", "The maximum number of VPCs has been reached.")
	}
	v := c.addVpc(req, cidr)
	c.spend(req, "ec2:CreateVpc", v.id, nil, func() { v.state = "available" })
	return []node{group("vpc", c.vpcNodes(v)...)}, nil
}

// addVpc makes a VPC with its main route table and default security group.
func (c *Cloud) addVpc(req *request, cidr netip.Prefix) *vpc {
	v := &vpc{meta: c.newMeta(req, "vpc", "vpc"), cidr: cidr.Masked(), state: "pending", dnsSupport: true}
	c.ec2.vpcs.rows = append(c.ec2.vpcs.rows, v)
	rt := &routeTable{meta: c.newMeta(nil, "route-table", "rtb"), vpc: v.id, routes: []route{{cidr.Masked().String(), "local", "CreateRouteTable"}}}
	rt.associations = []association{{id: "rtbassoc-0" + c.hex(16), main: true}}
	c.ec2.routeTables.rows = append(c.ec2.routeTables.rows, rt)
	sg := c.addGroup(nil, v.id, "default", "default VPC security group")
	sg.rules = append(sg.rules, rule{id: "sgr-0" + c.hex(16), protocol: "-1", group: sg.id, from: -1, to: -1})
	v.mainTable, v.dfltSG = rt.id, sg.id
	return v
}

func (c *Cloud) deleteVpc(req *request) (any, error) {
	v, err := c.ec2.vpcs.get(req.form.Get("VpcId"))
	if err != nil {
		return nil, err
	}
	if c.vpcBusy(v) {
		return nil, fail("DependencyViolation", "The vpc '%s' has dependencies and cannot be deleted.", v.id)
	}
	req.deleted = append(req.deleted, v.id)
	c.ec2.vpcs.remove(v.id)
	c.ec2.routeTables.remove(v.mainTable)
	c.ec2.groups.remove(v.dfltSG)
	return done, nil
}

func (c *Cloud) vpcBusy(v *vpc) bool {
	s := &c.ec2
	return len(s.subnets.where(func(x *subnet) bool { return x.vpc == v.id }))+
		len(s.gateways.where(func(x *gateway) bool { return x.vpc == v.id }))+
		len(s.interfaces.where(func(x *networkInterface) bool { return x.vpc == v.id }))+
		len(s.routeTables.where(func(x *routeTable) bool { return x.vpc == v.id && x.id != v.mainTable }))+
		len(s.groups.where(func(x *securityGroup) bool { return x.vpc == v.id && x.id != v.dfltSG })) > 0
}

func (c *Cloud) vpcNodes(v *vpc) []node {
	return []node{el("vpcId", v.id), el("ownerId", c.opt.Account), el("state", v.state), el("cidrBlock", v.cidr.String()),
		items("cidrBlockAssociationSet", group("", el("cidrBlock", v.cidr.String()), el("associationId", "vpc-cidr-assoc-"+v.id[4:]),
			group("cidrBlockState", el("state", "associated")))),
		el("dhcpOptionsId", "dopt-0rehearsal"), el("instanceTenancy", "default"), el("isDefault", v.isDefault), tagSet(v.tags)}
}

var vpcFilters = attributes[*vpc]{
	"vpc-id": one(func(v *vpc) string { return v.id }), "state": one(func(v *vpc) string { return v.state }),
	"cidr": one(func(v *vpc) string { return v.cidr.String() }), "cidr-block-association.cidr-block": one(func(v *vpc) string { return v.cidr.String() }),
	"is-default": one(func(v *vpc) string { return strconv.FormatBool(v.isDefault) }), "isDefault": one(func(v *vpc) string { return strconv.FormatBool(v.isDefault) }),
}

func (c *Cloud) describeVpcs(req *request) (any, error) {
	return describe(c, req, &c.ec2.vpcs, "VpcId", "vpcSet", vpcFilters, func(v *vpc) node { return group("", c.vpcNodes(v)...) })
}

func (c *Cloud) modifyVpcAttribute(req *request) (any, error) {
	v, err := c.ec2.vpcs.get(req.form.Get("VpcId"))
	if err != nil {
		return nil, err
	}
	fields := map[string]*bool{"EnableDnsSupport": &v.dnsSupport, "EnableDnsHostnames": &v.dnsHostnames, "EnableNetworkAddressUsageMetrics": &v.networkUsageMetric}
	var given []string
	for name := range fields {
		if req.form.Has(name + ".Value") {
			given = append(given, name)
		}
	}
	if len(given) != 1 {
		return nil, fail("InvalidParameterCombination", "Exactly one attribute has to be modified per call, got %d", len(given))
	}
	*fields[given[0]] = req.form.Get(given[0]+".Value") == "true"
	return done, nil
}

func (c *Cloud) describeVpcAttribute(req *request) (any, error) {
	v, err := c.ec2.vpcs.get(req.form.Get("VpcId"))
	if err != nil {
		return nil, err
	}
	name := req.form.Get("Attribute")
	values := map[string]bool{"enableDnsSupport": v.dnsSupport, "enableDnsHostnames": v.dnsHostnames, "enableNetworkAddressUsageMetrics": v.networkUsageMetric}
	value, ok := values[name]
	if !ok {
		return nil, fail("InvalidParameterValue", "Value (%s) for parameter attribute is invalid. Unknown attribute.", name)
	}
	return []node{el("vpcId", v.id), group(name, el("value", value))}, nil
}

func (c *Cloud) createSubnet(req *request) (any, error) {
	v, err := c.ec2.vpcs.get(req.form.Get("VpcId"))
	if err != nil {
		return nil, err
	}
	z, err := c.zoneOf(req.form.Get("AvailabilityZone"), req.form.Get("AvailabilityZoneId"))
	if err != nil {
		return nil, err
	}
	cidr, err := netip.ParsePrefix(req.form.Get("CidrBlock"))
	if err != nil || !cidr.Addr().Is4() {
		return nil, fail("InvalidParameterValue", "Value (%s) for parameter cidrBlock is invalid. This is not a valid CIDR block.", req.form.Get("CidrBlock"))
	}
	if !v.cidr.Contains(cidr.Addr()) || cidr.Bits() < v.cidr.Bits() || cidr.Bits() > 28 {
		return nil, fail("InvalidSubnet.Range", "The CIDR '%s' is invalid.", cidr)
	}
	for _, other := range c.ec2.subnets.rows {
		if other.vpc == v.id && other.cidr.Overlaps(cidr) {
			return nil, fail("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet", cidr)
		}
	}
	if err := badTagSpecification(req, "subnet"); err != nil {
		return nil, err
	}
	sn := &subnet{meta: c.newMeta(req, "subnet", "subnet"), vpc: v.id, zone: z.name, cidr: cidr.Masked(), state: "pending"}
	c.ec2.subnets.rows = append(c.ec2.subnets.rows, sn)
	c.spend(req, "ec2:CreateSubnet", sn.id, []string{v.id}, func() { sn.state = "available" })
	return []node{group("subnet", c.subnetNodes(sn)...)}, nil
}

func (c *Cloud) deleteSubnet(req *request) (any, error) {
	sn, err := c.ec2.subnets.get(req.form.Get("SubnetId"))
	if err != nil {
		return nil, err
	}
	if len(c.ec2.interfaces.where(func(e *networkInterface) bool { return e.subnet == sn.id })) > 0 {
		return nil, fail("DependencyViolation", "The subnet '%s' has dependencies and cannot be deleted.", sn.id)
	}
	for _, rt := range c.ec2.routeTables.rows {
		rt.dissociate(func(a association) bool { return a.subnet == sn.id })
	}
	req.deleted = append(req.deleted, sn.id)
	c.ec2.subnets.remove(sn.id)
	return done, nil
}

func (c *Cloud) subnetNodes(sn *subnet) []node {
	return []node{el("subnetId", sn.id), el("subnetArn", c.arn("ec2", "subnet/"+sn.id)), el("state", sn.state), el("vpcId", sn.vpc),
		el("ownerId", c.opt.Account), el("cidrBlock", sn.cidr.String()), el("availableIpAddressCount", sn.free()),
		el("availabilityZone", sn.zone), el("availabilityZoneId", c.zoneID(sn.zone)), el("defaultForAz", false),
		el("mapPublicIpOnLaunch", sn.publicIP), el("assignIpv6AddressOnCreation", false), el("ipv6Native", false), items("ipv6CidrBlockAssociationSet"),
		group("privateDnsNameOptionsOnLaunch", el("hostnameType", "ip-name"), el("enableResourceNameDnsARecord", false), el("enableResourceNameDnsAAAARecord", false)), tagSet(sn.tags)}
}

func (c *Cloud) describeSubnets(req *request) (any, error) {
	filters := attributes[*subnet]{
		"subnet-id": one(func(s *subnet) string { return s.id }), "vpc-id": one(func(s *subnet) string { return s.vpc }),
		"state": one(func(s *subnet) string { return s.state }), "availability-zone": one(func(s *subnet) string { return s.zone }),
		"availabilityZone":     one(func(s *subnet) string { return s.zone }),
		"availability-zone-id": one(func(s *subnet) string { return c.zoneID(s.zone) }),
		"cidr-block":           one(func(s *subnet) string { return s.cidr.String() }), "cidr": one(func(s *subnet) string { return s.cidr.String() }),
		"map-public-ip-on-launch": one(func(s *subnet) string { return strconv.FormatBool(s.publicIP) }),
	}
	return describe(c, req, &c.ec2.subnets, "SubnetId", "subnetSet", filters, func(s *subnet) node { return group("", c.subnetNodes(s)...) })
}

func (c *Cloud) modifySubnetAttribute(req *request) (any, error) {
	sn, err := c.ec2.subnets.get(req.form.Get("SubnetId"))
	if err != nil {
		return nil, err
	}
	if req.form.Has("MapPublicIpOnLaunch.Value") {
		sn.publicIP = req.form.Get("MapPublicIpOnLaunch.Value") == "true"
	}
	return done, nil
}
