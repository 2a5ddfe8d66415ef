package aws

import (
	"fmt"
	"slices"
	"strings"
)

// instanceType is a row of the table of types.
type instanceType struct {
	meta
	name, arch         string
	vcpu, memory       int // MiB
	enis, ips          int
	attach             attachLimit
	nvme               int // disks of its own
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
	{"m5d", "x86_64", false, generalSizes[:3]}, {"m7i", "x86_64", false, generalSizes}, {"m7g", "arm64", false, generalSizes}, {"c5", "x86_64", false, computeSizes}, {"c6g", "arm64", false, computeSizes}, {"r5", "x86_64", false, memorySizes},
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
			t := &instanceType{name: f.family + "." + s.size, arch: f.arch, vcpu: s.vcpu, memory: s.memory, enis: s.enis, ips: s.ips,
				burstable: f.burstable, current: f.family != "t2", attach: attachLimits[f.family]}
			if t.attach.most == 0 {
				t.attach = attachLimit{most: 28, shared: true}
			}
			if f.family == "m5d" {
				t.nvme = 1
			}
			out = append(out, t)
		}
	}
	return out
}

// attachLimit is how many volumes an instance of a type takes. A shared one also counts network interfaces and NVMe disks.
type attachLimit struct {
	most   int
	shared bool
}

// attachLimits are those of families that differ from most.
var attachLimits = map[string]attachLimit{"m7i": {most: 32}, "t2": {most: 39}}

// kind is the limit's name on the wire.
func (l attachLimit) kind() string {
	if l.shared {
		return "shared"
	}
	return "dedicated"
}

// full says that an instance takes no more volumes than the ones that are on it.
func (c *Cloud) full(i *instance, volumes int) bool {
	t := typeNamed(i.typ)
	if t == nil {
		return false
	}
	if t.attach.shared {
		volumes += t.nvme
		for _, e := range c.ec2.interfaces.rows {
			if e.instance == i.id {
				volumes++
			}
		}
	}
	return volumes >= t.attach.most
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
	n := group("", el("instanceType", t.name), el("currentGeneration", t.current), el("burstablePerformanceSupported", t.burstable), el("bareMetal", false),
		group("vCpuInfo", el("defaultVCpus", t.vcpu)), group("memoryInfo", el("sizeInMiB", t.memory)),
		group("processorInfo", items("supportedArchitectures", texts([]string{t.arch})...)),
		group("networkInfo", el("maximumNetworkInterfaces", t.enis), el("ipv4AddressesPerInterface", t.ips), el("ipv6Supported", true)),
		group("ebsInfo", el("nvmeSupport", map[bool]string{true: "required", false: "unsupported"}[t.current]), el("maximumEbsAttachments", t.attach.most), el("attachmentLimitType", t.attach.kind()), el("encryptionSupport", "supported")),
		items("supportedUsageClasses", texts([]string{"on-demand", "spot"})...), el("hypervisor", map[bool]string{true: "nitro", false: "xen"}[t.current]), el("instanceStorageSupported", t.nvme > 0))
	if t.nvme > 0 {
		n.kids = append(n.kids, group("instanceStorageInfo", items("disks", group("", el("count", t.nvme), el("type", "ssd"))), el("nvmeSupport", "required")))
	}
	return n
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
