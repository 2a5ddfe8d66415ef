package aws

import (
	"strings"
)

func (c *Cloud) routeTableNodes(rt *routeTable) []node {
	var routes, assocs []node
	for _, r := range rt.routes {
		name := "gatewayId"
		if strings.HasPrefix(r.target, "nat-") {
			name = "natGatewayId"
		} else if strings.HasPrefix(r.target, "eni-") {
			name = "networkInterfaceId"
		}
		routes = append(routes, group("", el("destinationCidrBlock", r.cidr), el(name, r.target), el("state", c.routeState(rt, r)), el("origin", r.origin)))
	}
	for _, a := range rt.associations {
		assocs = append(assocs, group("", el("routeTableAssociationId", a.id), el("routeTableId", rt.id), opt("subnetId", a.subnet),
			el("main", a.main), group("associationState", el("state", "associated"))))
	}
	return []node{el("routeTableId", rt.id), el("vpcId", rt.vpc), el("ownerId", c.opt.Account), items("routeSet", routes...),
		items("associationSet", assocs...), tagSet(rt.tags)}
}

// overAssociations makes a filter over a route table's associations, overRoutes over its routes.
func overAssociations(f func(association) string) func(*routeTable) []string {
	return func(rt *routeTable) []string {
		var out []string
		for _, a := range rt.associations {
			out = append(out, f(a))
		}
		return out
	}
}

func overRoutes(f func(route) string) func(*routeTable) []string {
	return func(rt *routeTable) []string {
		var out []string
		for _, r := range rt.routes {
			out = append(out, f(r))
		}
		return out
	}
}

func (c *Cloud) describeRouteTables(req *request) (any, error) {
	filters := attributes[*routeTable]{
		"route-table-id": one(func(rt *routeTable) string { return rt.id }), "vpc-id": one(func(rt *routeTable) string { return rt.vpc }),
		"association.subnet-id":                  overAssociations(func(a association) string { return a.subnet }),
		"association.route-table-association-id": overAssociations(func(a association) string { return a.id }),
		"association.main": overAssociations(func(a association) string {
			if a.main {
				return "true"
			}
			return "false"
		}),
		"route.destination-cidr-block": overRoutes(func(r route) string { return r.cidr }),
		"route.gateway-id":             overRoutes(func(r route) string { return r.target }),
		"route.nat-gateway-id":         overRoutes(func(r route) string { return r.target }),
	}
	return describe(c, req, &c.ec2.routeTables, "RouteTableId", "routeTableSet", filters, func(rt *routeTable) node { return group("", c.routeTableNodes(rt)...) })
}
