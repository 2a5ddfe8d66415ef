package aws

import (
	"slices"
	"time"
)

var gatewayOperations = map[string]operation{
	"CreateInternetGateway":    writes((*Cloud).createInternetGateway),
	"AttachInternetGateway":    writes((*Cloud).attachInternetGateway, "InternetGatewayId", "VpcId"),
	"DetachInternetGateway":    writes((*Cloud).detachInternetGateway, "InternetGatewayId", "VpcId"),
	"DeleteInternetGateway":    writes((*Cloud).deleteInternetGateway, "InternetGatewayId"),
	"DescribeInternetGateways": reads((*Cloud).describeInternetGateways),
	"AllocateAddress":          writes((*Cloud).allocateAddress),
	"ReleaseAddress":           writes((*Cloud).releaseAddress, "AllocationId"),
	"DescribeAddresses":        reads((*Cloud).describeAddresses),
	"CreateNatGateway":         writes((*Cloud).createNatGateway),
	"DeleteNatGateway":         writes((*Cloud).deleteNatGateway, "NatGatewayId"),
	"DescribeNatGateways":      reads((*Cloud).describeNatGateways),
}

func (c *Cloud) createInternetGateway(req *request) (any, error) {
	if err := badTagSpecification(req, "internet-gateway"); err != nil {
		return nil, err
	}
	if len(c.ec2.gateways.rows) >= c.quota("L-A4707A72") {
		return nil, fail("InternetGatewayLimitExceeded", "The maximum number of internet gateways has been reached.")
	}
	g := &gateway{meta: c.newMeta(req, "internet-gateway", "igw")}
	c.ec2.gateways.rows = append(c.ec2.gateways.rows, g)
	return []node{group("internetGateway", c.gatewayNodes(g)...)}, nil
}

func (c *Cloud) gatewayNodes(g *gateway) []node {
	var attached []node
	if g.vpc != "" {
		attached = append(attached, group("", el("vpcId", g.vpc), el("state", "available")))
	}
	return []node{el("internetGatewayId", g.id), el("ownerId", c.opt.Account), items("attachmentSet", attached...), tagSet(g.tags)}
}

func (c *Cloud) attachInternetGateway(req *request) (any, error) {
	g, err := c.ec2.gateways.get(req.form.Get("InternetGatewayId"))
	if err != nil {
		return nil, err
	}
	v, err := c.ec2.vpcs.get(req.form.Get("VpcId"))
	if err != nil {
		return nil, err
	}
	if g.vpc != "" {
		return nil, fail("Resource.AlreadyAssociated", "resource %s is already attached to network %s", g.id, g.vpc)
	}
	if c.gatewayOf(v.id) != nil {
		return nil, fail("InvalidParameterValue", "Network %s already has an internet gateway attached", v.id)
	}
	g.vpc = v.id
	return done, nil
}

func (c *Cloud) gatewayOf(vpcID string) *gateway {
	i := slices.IndexFunc(c.ec2.gateways.rows, func(g *gateway) bool { return g.vpc == vpcID })
	if i < 0 {
		return nil
	}
	return c.ec2.gateways.rows[i]
}

func (c *Cloud) detachInternetGateway(req *request) (any, error) {
	g, err := c.ec2.gateways.get(req.form.Get("InternetGatewayId"))
	if err != nil {
		return nil, err
	}
	v := req.form.Get("VpcId")
	if g.vpc != v {
		return nil, fail("Gateway.NotAttached", "resource %s is not attached to network %s", g.id, v)
	}
	regional := func(n *nat) bool { return n.regional && n.vpc == v && n.state != "deleted" && n.state != "failed" }
	if len(c.ec2.interfaces.where(func(e *networkInterface) bool { return e.vpc == v && e.publicIP != "" })) > 0 || len(c.ec2.nats.where(regional)) > 0 {
		return nil, fail("DependencyViolation", "Network %s has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.", v)
	}
	g.vpc = ""
	return done, nil
}

func (c *Cloud) deleteInternetGateway(req *request) (any, error) {
	g, err := c.ec2.gateways.get(req.form.Get("InternetGatewayId"))
	if err != nil {
		return nil, err
	}
	if g.vpc != "" {
		return nil, fail("DependencyViolation", "The internetGateway '%s' has dependencies and cannot be deleted.", g.id)
	}
	req.deleted = append(req.deleted, g.id)
	c.ec2.gateways.remove(g.id)
	return done, nil
}

func (c *Cloud) describeInternetGateways(req *request) (any, error) {
	filters := attributes[*gateway]{
		"internet-gateway-id": one(func(g *gateway) string { return g.id }),
		"attachment.vpc-id":   one(func(g *gateway) string { return g.vpc }),
		"attachment.state": func(g *gateway) []string {
			if g.vpc == "" {
				return nil
			}
			return []string{"available"}
		},
	}
	return describe(c, req, &c.ec2.gateways, "InternetGatewayId", "internetGatewaySet", filters, func(g *gateway) node { return group("", c.gatewayNodes(g)...) })
}

func (c *Cloud) allocateAddress(req *request) (any, error) {
	if err := badTagSpecification(req, "elastic-ip"); err != nil {
		return nil, err
	}
	if len(c.ec2.addresses.rows) >= c.quota("L-0263D0A3") {
		return nil, fail("AddressLimitExceeded", "The maximum number of addresses has been reached.")
	}
	a := &address{meta: c.newMeta(req, "elastic-ip", "eipalloc"), ip: c.publicAddress()}
	c.ec2.addresses.rows = append(c.ec2.addresses.rows, a)
	return []node{el("publicIp", a.ip), el("allocationId", a.id), el("domain", "vpc"), el("publicIpv4Pool", "amazon"), el("networkBorderGroup", c.opt.Region)}, nil
}

func (c *Cloud) releaseAddress(req *request) (any, error) {
	a, err := c.ec2.addresses.get(req.form.Get("AllocationId"))
	if err != nil {
		return nil, err
	}
	if a.association != "" {
		return nil, fail("InvalidIPAddress.InUse", "Address %s is in use.", a.ip)
	}
	req.deleted = append(req.deleted, a.id)
	c.ec2.addresses.remove(a.id)
	return done, nil
}

func (c *Cloud) describeAddresses(req *request) (any, error) {
	filters := attributes[*address]{
		"allocation-id": one(func(a *address) string { return a.id }), "public-ip": one(func(a *address) string { return a.ip }),
		"association-id": one(func(a *address) string { return a.association }), "network-interface-id": one(func(a *address) string { return a.eni }),
		"instance-id": one(func(a *address) string { return a.instance }), "domain": one(func(*address) string { return "vpc" }),
	}
	return describe(c, req, &c.ec2.addresses, "AllocationId", "addressesSet", filters, func(a *address) node {
		held := []node{}
		if e, ok := c.ec2.interfaces.find(a.eni); ok {
			held = append(held, el("networkInterfaceOwnerId", c.opt.Account), el("privateIpAddress", e.ip))
		}
		return group("", append(held, el("publicIp", a.ip), el("allocationId", a.id), el("domain", "vpc"), opt("associationId", a.association),
			opt("networkInterfaceId", a.eni), opt("instanceId", a.instance), el("networkBorderGroup", c.opt.Region), tagSet(a.tags))...)
	})
}

func (c *Cloud) createNatGateway(req *request) (any, error) {
	token := req.form.Get("ClientToken")
	// a deleted gateway stays known to its token for an hour, as it stays in DescribeNatGateways
	if id, err := c.once(req, token, func(id string) bool { _, ok := c.ec2.nats.find(id); return ok }); err != nil || id != "" {
		n, _ := c.ec2.nats.find(id)
		return c.natResult(n, token), err
	}
	if req.form.Get("AvailabilityMode") == "regional" {
		return c.createRegionalNat(req, token)
	}
	if err := require(req, []string{"SubnetId"}); err != nil {
		return nil, err
	}
	sn, err := c.ec2.subnets.get(req.form.Get("SubnetId"))
	if err != nil {
		return nil, fail("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", req.form.Get("SubnetId"))
	}
	if err := badTagSpecification(req, "natgateway"); err != nil {
		return nil, err
	}
	n := &nat{vpc: sn.vpc, subnet: sn.id, state: "pending", connectivity: "public"}
	var a *address
	if req.form.Get("ConnectivityType") == "private" {
		n.connectivity = "private"
	} else if a, err = c.natAddress(req); err != nil {
		return nil, err
	}
	inZone := c.ec2.nats.where(func(x *nat) bool {
		other, ok := c.ec2.subnets.find(x.subnet)
		return ok && other.zone == sn.zone && (x.state == "pending" || x.state == "available")
	})
	if len(inZone) >= c.quota("L-FE5A380F") {
		return nil, fail("NatGatewayLimitExceeded", "The maximum number of NAT gateways has been reached.")
	}
	n.meta = c.newMeta(req, "natgateway", "nat")
	c.ec2.nats.rows = append(c.ec2.nats.rows, n)
	c.remember(req, token, n.id)
	c.startNat(req, n, sn, a)
	return c.natResult(n, token), nil
}

// createRegionalNat makes a gateway of a whole VPC, with addresses that AWS allocates. The route table that AWS makes for it, and removes
// with it, is left out.
func (c *Cloud) createRegionalNat(req *request, token string) (any, error) {
	for _, zonal := range []string{"SubnetId", "AllocationId"} {
		if req.form.Get(zonal) != "" {
			return nil, fail("InvalidParameterCombination", "The parameter %s cannot be used with a regional NAT gateway", zonal)
		}
	}
	if err := require(req, []string{"VpcId"}); err != nil {
		return nil, err
	}
	v, err := c.ec2.vpcs.get(req.form.Get("VpcId"))
	if err != nil {
		return nil, err
	}
	if err := badTagSpecification(req, "natgateway"); err != nil {
		return nil, err
	}
	n := &nat{vpc: v.id, regional: true, state: "pending", connectivity: "public", publicIP: c.publicAddress()}
	n.meta = c.newMeta(req, "natgateway", "nat")
	c.ec2.nats.rows = append(c.ec2.nats.rows, n)
	c.remember(req, token, n.id)
	if c.gatewayOf(v.id) == nil {
		c.failNat(n, "Gateway.NotAttached", notAttached(v.id))
	} else {
		c.makeNat(req, n, []string{v.id})
	}
	return c.natResult(n, token), nil
}

func (c *Cloud) natAddress(req *request) (*address, error) {
	id := req.form.Get("AllocationId")
	if id == "" {
		return nil, fail("MissingParameter", "The request must contain the parameter AllocationId")
	}
	return c.ec2.addresses.get(id)
}

func (c *Cloud) startNat(req *request, n *nat, sn *subnet, a *address) {
	if c.gatewayOf(sn.vpc) == nil && n.connectivity == "public" {
		c.failNat(n, "Gateway.NotAttached", notAttached(sn.vpc))
		return
	}
	if a != nil && a.association != "" {
		c.failNat(n, "Resource.AlreadyAssociated", "Elastic IP address ["+a.id+"] is already associated")
		return
	}
	after := []string{sn.id}
	e, ok := c.newInterface(sn, "Interface for NAT Gateway "+n.id, nil)
	if !ok {
		c.failNat(n, "InsufficientFreeAddressesInSubnet", "Subnet has insufficient free addresses to create this NAT gateway")
		return
	}
	e.kind2, e.managed, e.requester = "nat_gateway", true, "amazon-aws"
	n.eni, n.privateIP = e.id, e.ip
	if a != nil {
		a.association, a.eni = "eipassoc-0"+c.hex(16), e.id
		e.publicIP, e.allocation = a.ip, a.id
		n.allocation, n.publicIP = a.id, a.ip
		after = append(after, a.id)
	}
	c.makeNat(req, n, after)
}

// makeNat has a gateway that nothing is wrong with available after its time.
func (c *Cloud) makeNat(req *request, n *nat, after []string) {
	c.spend(req, "ec2:CreateNatGateway", n.id, after, func() {
		if n.state == "pending" {
			n.state = "available"
		}
	})
}

// failNat has one fail, of which EC2 tells the reason only a moment later.
func (c *Cloud) failNat(n *nat, code, message string) {
	n.failCode, n.failMessage = code, message
	c.after(5*time.Second, func() { n.state = "failed" })
}

func notAttached(vpc string) string { return "Network " + vpc + " has no Internet gateway attached" }

func (c *Cloud) natResult(n *nat, token string) []node {
	if n == nil {
		return nil
	}
	return []node{group("natGateway", c.natNodes(n)...), opt("clientToken", token)}
}

func (c *Cloud) natNodes(n *nat) []node {
	mode := "zonal"
	if n.regional {
		mode = "regional"
	}
	out := []node{el("natGatewayId", n.id), opt("subnetId", n.subnet), el("vpcId", n.vpc), el("availabilityMode", mode), el("state", n.state), el("createTime", n.created),
		el("connectivityType", n.connectivity), opt("failureCode", n.failCode), opt("failureMessage", n.failMessage), tagSet(n.tags)}
	if !n.deleted.IsZero() {
		out = append(out, el("deleteTime", n.deleted))
	}
	if n.regional {
		out = append(out, el("autoProvisionZones", "enabled"), el("autoScalingIps", "enabled"))
	}
	return append(out, items("natGatewayAddressSet", group("", opt("allocationId", n.allocation), opt("networkInterfaceId", n.eni),
		opt("publicIp", n.publicIP), opt("privateIp", n.privateIP), el("isPrimary", true), el("status", "succeeded"),
		opt("associationId", c.associationOf(n)))))
}

// associationOf is the id under which a NAT gateway holds its address.
func (c *Cloud) associationOf(n *nat) string {
	if a, ok := c.ec2.addresses.find(n.allocation); ok && a.eni == n.eni {
		return a.association
	}
	return ""
}

func (c *Cloud) deleteNatGateway(req *request) (any, error) {
	n, err := c.ec2.nats.get(req.form.Get("NatGatewayId"))
	if err != nil {
		return nil, err
	}
	result := []node{el("natGatewayId", n.id)}
	if n.state == "deleting" || n.state == "deleted" {
		return result, nil
	}
	n.state = "deleting"
	req.deleted = append(req.deleted, n.id)
	c.spend(req, "ec2:DeleteNatGateway", n.id, nil, func() { c.natGone(n) })
	return result, nil
}

func (c *Cloud) natGone(n *nat) {
	n.state, n.deleted = "deleted", time.Now()
	c.ec2.interfaces.remove(n.eni)
	if a, ok := c.ec2.addresses.find(n.allocation); ok && a.eni == n.eni {
		a.association, a.eni = "", ""
	}
	c.after(time.Hour, func() { c.ec2.nats.remove(n.id) })
}

func (c *Cloud) describeNatGateways(req *request) (any, error) {
	filters := attributes[*nat]{
		"nat-gateway-id": one(func(n *nat) string { return n.id }), "vpc-id": one(func(n *nat) string { return n.vpc }),
		"subnet-id": one(func(n *nat) string { return n.subnet }), "state": one(func(n *nat) string { return n.state }),
	}
	return describe(c, req, &c.ec2.nats, "NatGatewayId", "natGatewaySet", filters, func(n *nat) node { return group("", c.natNodes(n)...) })
}
