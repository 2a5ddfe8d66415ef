package aws

import (
	"fmt"
	"slices"
	"strconv"
)

var groupOperations = map[string]operation{
	"CreateSecurityGroup":           writes((*Cloud).createSecurityGroup, "GroupName", "GroupDescription"),
	"DeleteSecurityGroup":           writes((*Cloud).deleteSecurityGroup),
	"DescribeSecurityGroups":        reads((*Cloud).describeSecurityGroups),
	"DescribeSecurityGroupRules":    reads((*Cloud).describeSecurityGroupRules),
	"AuthorizeSecurityGroupIngress": writes(authorize(false)),
	"AuthorizeSecurityGroupEgress":  writes(authorize(true)),
	"RevokeSecurityGroupIngress":    writes(revoke(false)),
	"RevokeSecurityGroupEgress":     writes(revoke(true)),
}

func (c *Cloud) addGroup(req *request, vpcID, name, description string) *securityGroup {
	g := &securityGroup{meta: c.newMeta(req, "security-group", "sg"), vpc: vpcID, name: name, description: description}
	g.rules = []rule{{id: "sgr-0" + c.hex(16), protocol: "-1", cidr: "0.0.0.0/0", from: -1, to: -1, egress: true}}
	c.ec2.groups.rows = append(c.ec2.groups.rows, g)
	return g
}

func (c *Cloud) createSecurityGroup(req *request) (any, error) {
	v, err := c.ec2.vpcs.get(req.form.Get("VpcId"))
	if err != nil {
		return nil, err
	}
	name := req.form.Get("GroupName")
	if slices.ContainsFunc(c.ec2.groups.rows, func(g *securityGroup) bool { return g.vpc == v.id && g.name == name }) {
		return nil, fail("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", name, v.id)
	}
	if err := badTagSpecification(req, "security-group"); err != nil {
		return nil, err
	}
	g := c.addGroup(req, v.id, name, req.form.Get("GroupDescription"))
	return []node{el("return", true), el("groupId", g.id), tagSet(g.tags)}, nil
}

func (c *Cloud) deleteSecurityGroup(req *request) (any, error) {
	g, err := c.ec2.groups.get(req.form.Get("GroupId"))
	if err != nil {
		return nil, err
	}
	if g.name == "default" {
		return nil, fail("CannotDelete", "the specified group: \"%s\" name: \"default\" cannot be deleted by a user", g.id)
	}
	if c.groupInUse(g.id) {
		return nil, fail("DependencyViolation", "resource %s has a dependent object", g.id)
	}
	req.deleted = append(req.deleted, g.id)
	c.ec2.groups.remove(g.id)
	return []node{el("return", true), el("groupId", g.id)}, nil
}

// groupInUse: an interface carries the group, or a rule of another group names it.
func (c *Cloud) groupInUse(id string) bool {
	return slices.ContainsFunc(c.ec2.interfaces.rows, func(e *networkInterface) bool { return slices.Contains(e.groups, id) }) ||
		slices.ContainsFunc(c.ec2.groups.rows, func(other *securityGroup) bool {
			return other.id != id && slices.ContainsFunc(other.rules, func(r rule) bool { return r.group == id })
		})
}

// permissions reads IpPermissions.N, or the flat form of a single rule.
func permissions(req *request, egress bool) []rule {
	var out []rule
	number := func(p, k string) int {
		n, err := strconv.Atoi(req.form.Get(p + k))
		if err != nil {
			return -1
		}
		return n
	}
	read := func(p string) {
		base := rule{protocol: req.form.Get(p + "IpProtocol"), from: number(p, "FromPort"), to: number(p, "ToPort"), egress: egress}
		if cidr := req.form.Get(p + "CidrIp"); cidr != "" {
			base.cidr = cidr
			out = append(out, base)
		}
		for _, source := range []struct {
			list, key string
			set       func(*rule, string)
		}{
			{"IpRanges", "CidrIp", func(r *rule, v string) { r.cidr = v }},
			{"Ipv6Ranges", "CidrIpv6", func(r *rule, v string) { r.cidr = v }},
			{"Groups", "GroupId", func(r *rule, v string) { r.group = v }},
			{"PrefixListIds", "PrefixListId", func(r *rule, v string) { r.prefixList = v }},
		} {
			for i := 1; req.form.Has(fmt.Sprintf("%s%s.%d.%s", p, source.list, i, source.key)); i++ {
				at := fmt.Sprintf("%s%s.%d.", p, source.list, i)
				r := base
				source.set(&r, req.form.Get(at+source.key))
				r.description = req.form.Get(at + "Description")
				out = append(out, r)
			}
		}
	}
	read("")
	for i := 1; req.form.Has(fmt.Sprintf("IpPermissions.%d.IpProtocol", i)); i++ {
		read(fmt.Sprintf("IpPermissions.%d.", i))
	}
	return out
}

func (r rule) same(o rule) bool {
	return r.protocol == o.protocol && r.cidr == o.cidr && r.group == o.group && r.prefixList == o.prefixList && r.egress == o.egress &&
		(r.protocol == "-1" || r.from == o.from && r.to == o.to)
}

func authorize(egress bool) func(*Cloud, *request) (any, error) {
	return func(c *Cloud, req *request) (any, error) {
		g, err := c.ec2.groups.get(req.form.Get("GroupId"))
		if err != nil {
			return nil, err
		}
		rules := permissions(req, egress)
		if len(rules) == 0 {
			return nil, fail("MissingParameter", "The request must contain the parameter ipPermissions")
		}
		for i, r := range rules {
			if r.group != "" {
				if _, err := c.ec2.groups.get(r.group); err != nil {
					return nil, err
				}
			}
			if slices.ContainsFunc(g.rules, r.same) {
				return nil, fail("InvalidPermission.Duplicate", "the specified rule \"peer: %s%s, %s, from port: %d, to port: %d, ALLOW\" already exists", r.cidr, r.group, r.protocol, r.from, r.to)
			}
			rules[i].id = "sgr-0" + c.hex(16)
		}
		g.rules = append(g.rules, rules...)
		return []node{el("return", true), items("securityGroupRuleSet", c.ruleNodes(g, rules)...)}, nil
	}
}

func revoke(egress bool) func(*Cloud, *request) (any, error) {
	return func(c *Cloud, req *request) (any, error) {
		g, err := c.ec2.groups.get(req.form.Get("GroupId"))
		if err != nil {
			return nil, err
		}
		ids, wanted := list(req, "SecurityGroupRuleId"), permissions(req, egress)
		n := len(g.rules)
		g.rules = slices.DeleteFunc(g.rules, func(r rule) bool {
			return r.egress == egress && (slices.Contains(ids, r.id) || slices.ContainsFunc(wanted, r.same))
		})
		if len(g.rules) == n {
			return nil, fail("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
		}
		return done, nil
	}
}

func (c *Cloud) ruleNodes(g *securityGroup, rules []rule) []node {
	var out []node
	for _, r := range rules {
		n := group("", el("securityGroupRuleId", r.id), el("groupId", g.id), el("groupOwnerId", c.opt.Account), el("isEgress", r.egress),
			el("ipProtocol", r.protocol), el("fromPort", r.from), el("toPort", r.to), opt("cidrIpv4", r.cidr), opt("prefixListId", r.prefixList), opt("description", r.description))
		if r.group != "" {
			n.kids = append(n.kids, group("referencedGroupInfo", el("groupId", r.group)))
		}
		out = append(out, n)
	}
	return out
}

func (c *Cloud) permissionNodes(g *securityGroup, egress bool) []node {
	var out []node
	for _, r := range g.rules {
		if r.egress != egress {
			continue
		}
		n := []node{el("ipProtocol", r.protocol)}
		if r.protocol != "-1" {
			n = append(n, el("fromPort", r.from), el("toPort", r.to))
		}
		ranges, groups := items("ipRanges"), items("groups")
		switch {
		case r.cidr != "":
			ranges = items("ipRanges", group("", el("cidrIp", r.cidr), opt("description", r.description)))
		case r.group != "":
			groups = items("groups", group("", el("groupId", r.group), el("userId", c.opt.Account)))
		}
		out = append(out, group("", append(n, ranges, groups, items("ipv6Ranges"), items("prefixListIds"))...))
	}
	return out
}

func (c *Cloud) describeSecurityGroups(req *request) (any, error) {
	filters := attributes[*securityGroup]{
		"group-id": one(func(g *securityGroup) string { return g.id }), "group-name": one(func(g *securityGroup) string { return g.name }),
		"vpc-id": one(func(g *securityGroup) string { return g.vpc }), "description": one(func(g *securityGroup) string { return g.description }),
		"ip-permission.group-id": func(g *securityGroup) []string {
			var out []string
			for _, r := range g.rules {
				if !r.egress {
					out = append(out, r.group)
				}
			}
			return out
		},
	}
	return describe(c, req, &c.ec2.groups, "GroupId", "securityGroupInfo", filters, func(g *securityGroup) node {
		return group("", el("groupId", g.id), el("securityGroupArn", c.arn("ec2", "security-group/"+g.id)), el("groupName", g.name), el("groupDescription", g.description), el("vpcId", g.vpc), el("ownerId", c.opt.Account),
			items("ipPermissions", c.permissionNodes(g, false)...), items("ipPermissionsEgress", c.permissionNodes(g, true)...), tagSet(g.tags))
	})
}

func (c *Cloud) describeSecurityGroupRules(req *request) (any, error) {
	rows, err := filterRows(req, c.ec2.groups.rows, attributes[*securityGroup]{"group-id": one(func(g *securityGroup) string { return g.id })})
	if err != nil {
		return nil, err
	}
	var out []node
	for _, g := range rows {
		out = append(out, c.ruleNodes(g, g.rules)...)
	}
	page, next, err := paginate(c, req, out, "SecurityGroupRuleId")
	return []node{items("securityGroupRuleSet", page...), opt("nextToken", next)}, err
}
