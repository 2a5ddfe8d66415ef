package aws

import (
	"net/netip"
	"slices"
	"strings"
)

var routeOperations = map[string]operation{
	"CreateRouteTable":             writes((*Cloud).createRouteTable, "VpcId"),
	"DeleteRouteTable":             writes((*Cloud).deleteRouteTable, "RouteTableId"),
	"DescribeRouteTables":          reads((*Cloud).describeRouteTables),
	"CreateRoute":                  writes((*Cloud).createRoute, "RouteTableId"),
	"ReplaceRoute":                 writes((*Cloud).replaceRoute, "RouteTableId"),
	"DeleteRoute":                  writes((*Cloud).deleteRoute, "RouteTableId"),
	"AssociateRouteTable":          writes((*Cloud).associateRouteTable, "RouteTableId"),
	"DisassociateRouteTable":       writes((*Cloud).disassociateRouteTable, "AssociationId"),
	"ReplaceRouteTableAssociation": writes((*Cloud).replaceRouteTableAssociation, "AssociationId", "RouteTableId"),
}

func (c *Cloud) createRouteTable(req *request) (any, error) {
	token := req.form.Get("ClientToken")
	id, err := c.once(req, token, func(id string) bool { _, ok := c.ec2.routeTables.find(id); return ok })
	if err != nil {
		return nil, err
	}
	if rt, ok := c.ec2.routeTables.find(id); ok {
		return []node{group("routeTable", c.routeTableNodes(rt)...), opt("clientToken", token)}, nil
	}
	v, err := c.ec2.vpcs.get(req.form.Get("VpcId"))
	if err != nil {
		return nil, err
	}
	if err := badTagSpecification(req, "route-table"); err != nil {
		return nil, err
	}
	rt := &routeTable{meta: c.newMeta(req, "route-table", "rtb"), vpc: v.id, routes: []route{{v.cidr.String(), "local", "CreateRouteTable"}}}
	c.ec2.routeTables.rows = append(c.ec2.routeTables.rows, rt)
	c.remember(req, token, rt.id)
	return []node{group("routeTable", c.routeTableNodes(rt)...), opt("clientToken", token)}, nil
}

func (c *Cloud) deleteRouteTable(req *request) (any, error) {
	rt, err := c.ec2.routeTables.get(req.form.Get("RouteTableId"))
	if err != nil {
		return nil, err
	}
	if len(rt.associations) > 0 {
		return nil, fail("DependencyViolation", "The routeTable '%s' has dependencies and cannot be deleted.", rt.id)
	}
	req.deleted = append(req.deleted, rt.id)
	c.ec2.routeTables.remove(rt.id)
	return done, nil
}

// routeTarget finds what a route points to; it must exist and be ready.
func (c *Cloud) routeTarget(req *request, rt *routeTable) (string, error) {
	if id := req.form.Get("GatewayId"); id != "" {
		g, err := c.ec2.gateways.get(id)
		if err != nil {
			return "", fail("InvalidGatewayID.NotFound", "The gateway ID '%s' does not exist", id)
		}
		if g.vpc != rt.vpc {
			return "", fail("InvalidParameterValue", "route table %s and network gateway %s belong to different networks", rt.id, id)
		}
		return id, nil
	}
	if id := req.form.Get("NatGatewayId"); id != "" {
		n, err := c.ec2.nats.get(id)
		if err != nil {
			return "", fail("InvalidNatGatewayID.NotFound", "The natGateway ID '%s' does not exist", id)
		}
		if n.state != "available" {
			return "", fail("InvalidNatGatewayID.NotFound", "The natGateway ID '%s' does not exist", id)
		}
		return id, nil
	}
	if id := req.form.Get("NetworkInterfaceId"); id != "" {
		_, err := c.ec2.interfaces.get(id)
		return id, err
	}
	return "", fail("MissingParameter", "The request must contain exactly one of gatewayId, natGatewayId, networkInterfaceId, vpcPeeringConnectionId, egressOnlyInternetGatewayId, transitGatewayId")
}

func (c *Cloud) createRoute(req *request) (any, error) {
	rt, cidr, err := c.routeOf(req)
	if err != nil {
		return nil, err
	}
	target, err := c.routeTarget(req, rt)
	if err != nil {
		return nil, err
	}
	if i := rt.route(cidr); i >= 0 {
		if rt.routes[i].target == target {
			return done, nil
		}
		return nil, fail("RouteAlreadyExists", "The route identified by %s already exists.", cidr)
	}
	rt.routes = append(rt.routes, route{cidr, target, "CreateRoute"})
	return done, nil
}

func (c *Cloud) routeOf(req *request) (*routeTable, string, error) {
	rt, err := c.ec2.routeTables.get(req.form.Get("RouteTableId"))
	if err != nil {
		return nil, "", err
	}
	cidr := req.form.Get("DestinationCidrBlock")
	if p, err := netip.ParsePrefix(cidr); err != nil || p.Masked() != p {
		return nil, "", fail("InvalidParameterValue", "Value (%s) for parameter destinationCidrBlock is invalid. This is not a valid CIDR block.", cidr)
	}
	return rt, cidr, nil
}

func (rt *routeTable) route(cidr string) int {
	return slices.IndexFunc(rt.routes, func(r route) bool { return r.cidr == cidr })
}

func (c *Cloud) replaceRoute(req *request) (any, error) {
	rt, cidr, err := c.routeOf(req)
	if err != nil {
		return nil, err
	}
	target, err := c.routeTarget(req, rt)
	if err != nil {
		return nil, err
	}
	i := rt.route(cidr)
	if i < 0 {
		return nil, fail("InvalidParameterValue", "There is no route defined for '%s' in the route table. Use CreateRoute instead.", cidr)
	}
	rt.routes[i].target = target
	return done, nil
}

func (c *Cloud) deleteRoute(req *request) (any, error) {
	rt, cidr, err := c.routeOf(req)
	if err != nil {
		return nil, err
	}
	i := rt.route(cidr)
	if i < 0 {
		return nil, fail("InvalidRoute.NotFound", "no route with destination-cidr-block %s in route table %s", cidr, rt.id)
	}
	rt.routes = slices.Delete(rt.routes, i, i+1)
	return done, nil
}

func (c *Cloud) associateRouteTable(req *request) (any, error) {
	rt, err := c.ec2.routeTables.get(req.form.Get("RouteTableId"))
	if err != nil {
		return nil, err
	}
	sn, err := c.ec2.subnets.get(req.form.Get("SubnetId"))
	if err != nil {
		return nil, err
	}
	if sn.vpc != rt.vpc {
		return nil, fail("InvalidParameterValue", "route table %s and subnet %s belong to different networks", rt.id, sn.id)
	}
	for _, other := range c.ec2.routeTables.rows {
		for _, a := range other.associations {
			if a.subnet == sn.id && other.id == rt.id {
				return associated(a.id), nil
			} else if a.subnet == sn.id {
				return nil, fail("Resource.AlreadyAssociated", "the specified association for route table %s conflicts with an existing association", rt.id)
			}
		}
	}
	a := association{id: "rtbassoc-0" + c.hex(16), subnet: sn.id}
	rt.associations = append(rt.associations, a)
	return associated(a.id), nil
}

func associated(id string) []node {
	return []node{el("associationId", id), group("associationState", el("state", "associated"))}
}

// dissociate drops the associations that match and says how many.
func (rt *routeTable) dissociate(match func(association) bool) int {
	n := len(rt.associations)
	rt.associations = slices.DeleteFunc(rt.associations, match)
	return n - len(rt.associations)
}

func (c *Cloud) disassociateRouteTable(req *request) (any, error) {
	id := req.form.Get("AssociationId")
	for _, rt := range c.ec2.routeTables.rows {
		for _, a := range rt.associations {
			if a.id == id && a.main {
				return nil, fail("InvalidParameterValue", "cannot disassociate the main route table association %s", id)
			}
		}
		if rt.dissociate(func(a association) bool { return a.id == id }) > 0 {
			return done, nil
		}
	}
	return nil, fail("InvalidAssociationID.NotFound", "The association ID '%s' does not exist", id)
}

func (c *Cloud) replaceRouteTableAssociation(req *request) (any, error) {
	id := req.form.Get("AssociationId")
	to, err := c.ec2.routeTables.get(req.form.Get("RouteTableId"))
	if err != nil {
		return nil, err
	}
	for _, rt := range c.ec2.routeTables.rows {
		for _, a := range rt.associations {
			if a.id != id {
				continue
			}
			rt.dissociate(func(a association) bool { return a.id == id })
			a.id = "rtbassoc-0" + c.hex(16)
			to.associations = append(to.associations, a)
			return []node{el("newAssociationId", a.id), group("associationState", el("state", "associated"))}, nil
		}
	}
	return nil, fail("InvalidAssociationID.NotFound", "The association ID '%s' does not exist", id)
}

// tableOf is the route table that a subnet uses.
func (c *Cloud) tableOf(sn *subnet) *routeTable {
	var main *routeTable
	for _, rt := range c.ec2.routeTables.rows {
		for _, a := range rt.associations {
			if a.subnet == sn.id {
				return rt
			}
			if a.main && rt.vpc == sn.vpc {
				main = rt
			}
		}
	}
	return main
}

// egress says how a subnet reaches the internet: "igw", "nat" or "".
func (c *Cloud) egress(sn *subnet) string {
	rt := c.tableOf(sn)
	if rt == nil {
		return ""
	}
	i := rt.route("0.0.0.0/0")
	if i < 0 {
		return ""
	}
	if c.routeState(rt, rt.routes[i]) != "active" {
		return ""
	}
	prefix, _, _ := strings.Cut(rt.routes[i].target, "-")
	return prefix
}

// routeState is blackhole once the target is gone.
func (c *Cloud) routeState(rt *routeTable, r route) string {
	switch prefix, _, _ := strings.Cut(r.target, "-"); prefix {
	case "nat":
		if n, ok := c.ec2.nats.find(r.target); !ok || n.state != "available" {
			return "blackhole"
		}
	case "igw":
		if g, ok := c.ec2.gateways.find(r.target); !ok || g.vpc != rt.vpc {
			return "blackhole"
		}
	}
	return "active"
}
