package aws

import (
	"fmt"
	"slices"
	"strings"
)

var zoneOperations = map[string]operation{
	"DescribeAvailabilityZones":     reads((*Cloud).describeAvailabilityZones),
	"DescribeInstanceTypes":         reads((*Cloud).describeInstanceTypes),
	"DescribeInstanceTypeOfferings": reads((*Cloud).describeInstanceTypeOfferings),
	"DescribeRegions":               reads((*Cloud).describeRegions),
	"DescribeAccountAttributes":     reads((*Cloud).describeAccountAttributes),
}

// zone is an availability zone, or a local zone, which EKS and plain subnets cannot use unasked.
type zone struct {
	meta
	name, zid, kind2, optIn string
	noEKS                   bool
	lacks                   []string // instance families that it does not offer
}

// zoneTable has the regions that tests and examples use; any other region gets three plain zones.
var zoneTable = map[string][]zone{
	"ap-northeast-2": {{name: "ap-northeast-2a", zid: "apne2-az1"}, {name: "ap-northeast-2b", zid: "apne2-az2", lacks: []string{"t4g", "m6g"}},
		{name: "ap-northeast-2c", zid: "apne2-az3"}, {name: "ap-northeast-2d", zid: "apne2-az4", lacks: []string{"t3a", "m6g"}}},
	"us-east-1": {{name: "us-east-1a", zid: "use1-az1"}, {name: "us-east-1b", zid: "use1-az2"}, {name: "us-east-1c", zid: "use1-az4"},
		{name: "us-east-1d", zid: "use1-az6"}, {name: "us-east-1e", zid: "use1-az3", noEKS: true, lacks: []string{"t3", "t3a", "t4g", "m6g"}}, {name: "us-east-1f", zid: "use1-az5"},
		{name: "us-east-1-bos-1a", zid: "use1-bos1-az1", kind2: "local-zone", optIn: "not-opted-in"}},
	"us-east-2": {{name: "us-east-2a", zid: "use2-az1"}, {name: "us-east-2b", zid: "use2-az2"}, {name: "us-east-2c", zid: "use2-az3"}},
	"us-west-1": {{name: "us-west-1a", zid: "usw1-az1"}, {name: "us-west-1b", zid: "usw1-az2", noEKS: true}, {name: "us-west-1c", zid: "usw1-az3"}},
	"ca-central-1": {{name: "ca-central-1a", zid: "cac1-az1"}, {name: "ca-central-1b", zid: "cac1-az2"}, {name: "ca-central-1d", zid: "cac1-az4"},
		{name: "ca-central-1c", zid: "cac1-az3", noEKS: true}},
}

func (c *Cloud) zones() []*zone {
	rows, ok := zoneTable[c.opt.Region]
	if !ok {
		for i, letter := range []string{"a", "b", "c"} {
			rows = append(rows, zone{name: c.opt.Region + letter, zid: fmt.Sprintf("%s-az%d", shortRegion(c.opt.Region), i+1)})
		}
	}
	out := make([]*zone, len(rows))
	for i, z := range rows {
		if z.kind2 == "" {
			z.kind2, z.optIn = "availability-zone", "opt-in-not-required"
		}
		out[i] = &z
	}
	return out
}

// shortRegion makes the prefix of zone ids: eu-central-1 is euc1.
func shortRegion(region string) string {
	f := strings.Split(region, "-")
	if len(f) != 3 {
		return region
	}
	middle := f[1][:1]
	for _, part := range []string{"north", "south", "central"} {
		if rest, ok := strings.CutPrefix(f[1], part); ok && rest != "" {
			middle += rest[:1]
		}
	}
	return f[0] + middle + f[2]
}

func (c *Cloud) zoneID(name string) string {
	for _, z := range c.zones() {
		if z.name == name {
			return z.zid
		}
	}
	return ""
}

// zoneOf finds a usable zone by name or id; none asked for is the first.
func (c *Cloud) zoneOf(name, id string) (*zone, error) {
	var usable []string
	for _, z := range c.zones() {
		if z.optIn == "not-opted-in" {
			continue
		}
		if z.name == name || z.zid == id || name == "" && id == "" {
			return z, nil
		}
		usable = append(usable, z.name)
	}
	return nil, fail("InvalidParameterValue", "Value (%s) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: %s.", name+id, strings.Join(usable, ", "))
}

func (c *Cloud) describeAvailabilityZones(req *request) (any, error) {
	filters := attributes[*zone]{
		"zone-name": one(func(z *zone) string { return z.name }), "zone-id": one(func(z *zone) string { return z.zid }),
		"zone-type": one(func(z *zone) string { return z.kind2 }), "opt-in-status": one(func(z *zone) string { return z.optIn }),
		"state": one(func(*zone) string { return "available" }), "region-name": one(func(*zone) string { return c.opt.Region }),
	}
	names, ids, all := list(req, "ZoneName"), list(req, "ZoneId"), req.form.Get("AllAvailabilityZones") == "true"
	rows := slices.DeleteFunc(c.zones(), func(z *zone) bool {
		return !all && z.optIn == "not-opted-in" || len(names) > 0 && !slices.Contains(names, z.name) || len(ids) > 0 && !slices.Contains(ids, z.zid)
	})
	if len(names)+len(ids) > 0 && len(rows) < len(names)+len(ids) {
		return nil, fail("InvalidParameterValue", "Invalid availability zone: [%s]", strings.Join(append(names, ids...), ", "))
	}
	rows, err := filterRows(req, rows, filters)
	if err != nil {
		return nil, err
	}
	var out []node
	for _, z := range rows {
		out = append(out, group("", items("messageSet"), el("zoneName", z.name), el("zoneId", z.zid), el("zoneState", "available"), el("zoneType", z.kind2),
			el("optInStatus", z.optIn), el("regionName", c.opt.Region), el("groupName", c.opt.Region), el("networkBorderGroup", c.opt.Region)))
	}
	return []node{items("availabilityZoneInfo", out...)}, nil
}

func (c *Cloud) describeRegions(*request) (any, error) {
	return []node{items("regionInfo", group("", el("regionName", c.opt.Region), el("regionEndpoint", "ec2."+c.opt.Region+"."+c.domain()), el("optInStatus", "opt-in-not-required")))}, nil
}

func (c *Cloud) describeAccountAttributes(*request) (any, error) {
	attr := func(name, value string) node {
		return group("", el("attributeName", name), items("attributeValueSet", group("", el("attributeValue", value))))
	}
	return []node{items("accountAttributeSet", attr("supported-platforms", "VPC"), attr("default-vpc", "none"),
		attr("vpc-max-elastic-ips", fmt.Sprint(c.quota("L-0263D0A3"))))}, nil
}
