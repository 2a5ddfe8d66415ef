package aws

import (
	"crypto/sha256"
	"net"
	"strings"
)

var interfaceOperations = map[string]operation{
	"DescribeNetworkInterfaces": reads((*Cloud).describeNetworkInterfaces),
	"DeleteNetworkInterface":    writes((*Cloud).deleteNetworkInterface, "NetworkInterfaceId"),
	"DetachNetworkInterface":    writes((*Cloud).detachNetworkInterface, "AttachmentId"),
}

func (c *Cloud) describeNetworkInterfaces(req *request) (any, error) {
	filters := attributes[*networkInterface]{
		"network-interface-id": one(func(e *networkInterface) string { return e.id }), "vpc-id": one(func(e *networkInterface) string { return e.vpc }),
		"subnet-id": one(func(e *networkInterface) string { return e.subnet }), "status": one(func(e *networkInterface) string { return e.status }),
		"description": one(func(e *networkInterface) string { return e.description }), "interface-type": one(func(e *networkInterface) string { return e.kind2 }),
		"availability-zone": one(func(e *networkInterface) string { return e.zone }), "requester-id": one(func(e *networkInterface) string { return e.requester }),
		"group-id":               func(e *networkInterface) []string { return e.groups },
		"attachment.instance-id": one(func(e *networkInterface) string { return e.instance }),
		"attachment.status": func(e *networkInterface) []string {
			if e.status == "in-use" {
				return []string{"attached"}
			}
			return nil
		},
		"private-ip-address": one(func(e *networkInterface) string { return e.ip }), "addresses.private-ip-address": one(func(e *networkInterface) string { return e.ip }),
		"association.public-ip": one(func(e *networkInterface) string { return e.publicIP }), "association.allocation-id": one(func(e *networkInterface) string { return e.allocation }),
		"requester-managed": one(func(e *networkInterface) string {
			if e.managed {
				return "true"
			}
			return "false"
		}),
	}
	return describe(c, req, &c.ec2.interfaces, "NetworkInterfaceId", "networkInterfaceSet", filters, c.interfaceNode)
}

func (c *Cloud) interfaceNode(e *networkInterface) node {
	var groups []node
	for _, id := range e.groups {
		g, _ := c.ec2.groups.find(id)
		name := ""
		if g != nil {
			name = g.name
		}
		groups = append(groups, group("", el("groupId", id), opt("groupName", name)))
	}
	n := group("", el("networkInterfaceId", e.id), el("subnetId", e.subnet), el("vpcId", e.vpc), el("availabilityZone", e.zone),
		el("description", e.description), el("ownerId", c.opt.Account), el("requesterManaged", e.managed), opt("requesterId", e.requester),
		el("status", e.status), el("interfaceType", e.kind2), el("privateIpAddress", e.ip), items("groupSet", groups...), tagSet(e.tags),
		el("macAddress", macOf(e.id)), el("sourceDestCheck", !e.managed), el("privateDnsName", c.privateName(e.ip)), items("ipv6AddressesSet"),
		items("privateIpAddressesSet", group("", el("privateIpAddress", e.ip), el("privateDnsName", c.privateName(e.ip)), el("primary", true))))
	if e.status == "in-use" {
		n.kids = append(n.kids, group("attachment", opt("attachmentId", e.attachment), opt("instanceId", e.instance), el("instanceOwnerId", c.opt.Account),
			el("deviceIndex", 0), el("networkCardIndex", 0), el("status", "attached"), el("attachTime", e.created), el("deleteOnTermination", true)))
	}
	if e.publicIP != "" {
		association := ""
		if a, ok := c.ec2.addresses.find(e.allocation); ok {
			association = a.association
		}
		n.kids = append(n.kids, group("association", el("publicIp", e.publicIP), opt("allocationId", e.allocation), el("ipOwnerId", "amazon"), opt("associationId", association),
			el("publicDnsName", "ec2-"+strings.ReplaceAll(e.publicIP, ".", "-")+"."+c.opt.Region+".compute.amazonaws.com")))
	}
	return n
}

// macOf makes the hardware address of an interface from its id.
func macOf(id string) string {
	h := sha256.Sum256([]byte(id))
	return net.HardwareAddr(append([]byte{0x02}, h[:5]...)).String()
}

func (c *Cloud) deleteNetworkInterface(req *request) (any, error) {
	e, err := c.ec2.interfaces.get(req.form.Get("NetworkInterfaceId"))
	if err != nil {
		return nil, err
	}
	if e.status != "available" {
		return nil, fail("InvalidParameterValue", "Network interface '%s' is currently in use.", e.id)
	}
	req.deleted = append(req.deleted, e.id)
	c.ec2.interfaces.remove(e.id)
	return done, nil
}

func (c *Cloud) detachNetworkInterface(req *request) (any, error) {
	id := req.form.Get("AttachmentId")
	for _, e := range c.ec2.interfaces.rows {
		if e.attachment != id {
			continue
		}
		if e.managed {
			return nil, fail("OperationNotPermitted", "You are not allowed to manage 'ela-attach' attachments.")
		}
		e.status, e.instance, e.attachment = "available", "", ""
		return done, nil
	}
	return nil, fail("InvalidAttachmentID.NotFound", "The attachment ID '%s' does not exist", id)
}
