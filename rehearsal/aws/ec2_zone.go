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

// instanceType is a row of the table of types.
type instanceType struct {
	meta
	name, arch         string
	vcpu, memory       int // MiB
	enis, ips          int
	maximumEBS         int // attachments shared with network interfaces
	burstable, current bool
}

// instanceTypes: name, architecture, vCPU, memory in MiB, network interfaces, IPv4 addresses per interface.
var instanceTypes = buildTypes([]struct {
	family, arch string
	burstable    bool
	sizes        []typeSize
}{
	{"t3", "x86_64", true, burstableSizes}, {"t3a", "x86_64", true, burstableAMDSizes}, {"t4g", "arm64", true, burstableSizes},
	{"t2", "x86_64", true, []typeSize{{"small", 1, 2048, 3, 4}, {"medium", 2, 4096, 3, 6}, {"large", 2, 8192, 3, 12}}},
	{"m5", "x86_64", false, generalSizes}, {"m6i", "x86_64", false, generalSizes}, {"m6g", "arm64", false, append([]typeSize{{"medium", 1, 4096, 2, 4}}, generalSizes...)},
	{"m7g", "arm64", false, generalSizes}, {"c5", "x86_64", false, computeSizes}, {"c6g", "arm64", false, computeSizes}, {"r5", "x86_64", false, memorySizes},
})

type typeSize struct {
	size                    string
	vcpu, memory, enis, ips int
}

var (
	burstableSizes    = []typeSize{{"nano", 2, 512, 2, 2}, {"micro", 2, 1024, 2, 2}, {"small", 2, 2048, 3, 4}, {"medium", 2, 4096, 3, 6}, {"large", 2, 8192, 3, 12}, {"xlarge", 4, 16384, 4, 15}, {"2xlarge", 8, 32768, 4, 15}}
	burstableAMDSizes = []typeSize{{"nano", 2, 512, 2, 2}, {"micro", 2, 1024, 2, 2}, {"small", 2, 2048, 2, 4}, {"medium", 2, 4096, 3, 6}, {"large", 2, 8192, 3, 12}, {"xlarge", 4, 16384, 4, 15}, {"2xlarge", 8, 32768, 4, 15}}
	generalSizes      = []typeSize{{"large", 2, 8192, 3, 10}, {"xlarge", 4, 16384, 4, 15}, {"2xlarge", 8, 32768, 4, 15}, {"4xlarge", 16, 65536, 8, 30}}
	computeSizes      = []typeSize{{"large", 2, 4096, 3, 10}, {"xlarge", 4, 8192, 4, 15}, {"2xlarge", 8, 16384, 4, 15}}
	memorySizes       = []typeSize{{"large", 2, 16384, 3, 10}, {"xlarge", 4, 32768, 4, 15}}
)

func buildTypes(families []struct {
	family, arch string
	burstable    bool
	sizes        []typeSize
}) []*instanceType {
	var out []*instanceType
	for _, f := range families {
		for _, s := range f.sizes {
			out = append(out, &instanceType{name: f.family + "." + s.size, arch: f.arch, vcpu: s.vcpu, memory: s.memory, enis: s.enis, ips: s.ips,
				burstable: f.burstable, current: f.family != "t2", maximumEBS: 28})
		}
	}
	return out
}

func typeNamed(name string) *instanceType {
	for _, t := range instanceTypes {
		if t.name == name {
			return t
		}
	}
	return nil
}

var typeFilters = attributes[*instanceType]{
	"instance-type":                         one(func(t *instanceType) string { return t.name }),
	"processor-info.supported-architecture": one(func(t *instanceType) string { return t.arch }),
	"current-generation":                    one(func(t *instanceType) string { return fmt.Sprint(t.current) }),
	"vcpu-info.default-vcpus":               one(func(t *instanceType) string { return fmt.Sprint(t.vcpu) }),
	"burstable-performance-supported":       one(func(t *instanceType) string { return fmt.Sprint(t.burstable) }),
}

func (c *Cloud) describeInstanceTypes(req *request) (any, error) {
	rows := instanceTypes
	if wanted := list(req, "InstanceType"); len(wanted) > 0 {
		rows = nil
		for _, name := range wanted {
			t := typeNamed(name)
			if t == nil {
				return nil, fail("InvalidInstanceType", "The following supplied instance types do not exist: [%s]", name)
			}
			rows = append(rows, t)
		}
	}
	rows, err := filterRows(req, rows, typeFilters)
	if err != nil {
		return nil, err
	}
	page, next, err := paginate(c, req, rows, "InstanceType")
	if err != nil {
		return nil, err
	}
	var out []node
	for _, t := range page {
		out = append(out, typeNode(t))
	}
	return []node{items("instanceTypeSet", out...), opt("nextToken", next)}, nil
}

func typeNode(t *instanceType) node {
	return group("", el("instanceType", t.name), el("currentGeneration", t.current), el("burstablePerformanceSupported", t.burstable), el("bareMetal", false),
		group("vCpuInfo", el("defaultVCpus", t.vcpu)), group("memoryInfo", el("sizeInMiB", t.memory)),
		group("processorInfo", items("supportedArchitectures", texts([]string{t.arch})...)),
		group("networkInfo", el("maximumNetworkInterfaces", t.enis), el("ipv4AddressesPerInterface", t.ips), el("ipv6Supported", true)),
		group("ebsInfo", el("nvmeSupport", map[bool]string{true: "required", false: "unsupported"}[t.current]), el("maximumEbsAttachments", t.maximumEBS), el("attachmentLimitType", "shared"), el("encryptionSupport", "supported")),
		items("supportedUsageClasses", texts([]string{"on-demand", "spot"})...), el("hypervisor", map[bool]string{true: "nitro", false: "xen"}[t.current]))
}

// offering is a type at a place.
type offering struct {
	meta
	typ, location string
}

func (c *Cloud) describeInstanceTypeOfferings(req *request) (any, error) {
	kind := req.form.Get("LocationType")
	var rows []*offering
	for _, z := range c.zones() {
		for _, t := range instanceTypes {
			family, _, _ := strings.Cut(t.name, ".")
			location := map[string]string{"availability-zone": z.name, "availability-zone-id": z.zid}[kind]
			if location != "" && z.kind2 == "availability-zone" && !slices.Contains(z.lacks, family) {
				rows = append(rows, &offering{typ: t.name, location: location})
			}
		}
	}
	if kind == "" || kind == "region" {
		kind = "region"
		for _, t := range instanceTypes {
			rows = append(rows, &offering{typ: t.name, location: c.opt.Region})
		}
	}
	rows, err := filterRows(req, rows, attributes[*offering]{
		"instance-type": one(func(o *offering) string { return o.typ }), "location": one(func(o *offering) string { return o.location })})
	if err != nil {
		return nil, err
	}
	page, next, err := paginate(c, req, rows, "")
	if err != nil {
		return nil, err
	}
	var out []node
	for _, o := range page {
		out = append(out, group("", el("instanceType", o.typ), el("location", o.location), el("locationType", kind)))
	}
	return []node{items("instanceTypeOfferingSet", out...), opt("nextToken", next)}, nil
}
