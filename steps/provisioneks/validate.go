package provisioneks

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"pipectl.dev/kube"
	"pipectl.dev/steps/spec"
)

const zonesByDefault = 3

// retentions are the numbers of days that CloudWatch Logs knows.
var retentions = []int32{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

// SetDefaults fills in what a tag cannot say.
func (s *Spec) SetDefaults() {
	n := &s.Network
	if !n.exists() && !s.Existing {
		if n.CIDR == "" {
			n.CIDR = "10.0.0.0/16"
		}
		s.carve()
	}
	for i := range s.NodeGroups {
		g := &s.NodeGroups[i]
		if g.Desired == nil {
			d := max(g.Min, 1)
			g.Desired = &d
		}
		if g.Max == 0 {
			g.Max = max(*g.Desired, 1)
		}
		if g.LaunchTemplate.ImageID != "" && g.LaunchTemplate.AMIFamily == "" {
			g.LaunchTemplate.AMIFamily = familyAL2023
		}
		if g.Stopped {
			none := int32(0)
			g.Min, g.Desired, g.Max = 0, &none, 1 // EKS takes no maximum of 0
		}
	}
}

// carve cuts the subnets that were left out from the VPC's range: an eighth each, private ones first.
func (s *Spec) carve() {
	n := &s.Network
	vpc, err := netip.ParsePrefix(n.CIDR)
	if err != nil || vpc.Bits() > 25 || len(n.PrivateSubnets)+len(n.PublicSubnets) > 0 {
		return
	}
	count := zonesByDefault
	if len(n.Zones) > 0 {
		count = min(len(n.Zones), 4)
	}
	for i := range count {
		n.PrivateSubnets = append(n.PrivateSubnets, part(vpc, 3, i))
		n.PublicSubnets = append(n.PublicSubnets, part(vpc, 3, 4+i))
	}
}

// part is the i-th of the 2^bits equal parts of p.
func part(p netip.Prefix, bits, i int) string {
	a := p.Masked().Addr().As4()
	v := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	v += uint32(i) << (32 - p.Bits() - bits)
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), p.Bits()+bits).String()
}

// Validate finds what is wrong with the spec without asking AWS.
func (s *Spec) Validate() []spec.Problem {
	var ps []spec.Problem
	add := func(path, hint, format string, args ...any) {
		ps = append(ps, spec.Problem{Path: path, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	s.checkTags(add)
	if s.Existing {
		if len(s.NodeGroups) > 0 {
			add("nodeGroups", "leave nodeGroups out, or drop `existing: true`", "an existing cluster is only read")
		}
		return ps
	}
	s.network(add)
	if s.Endpoint.Public != nil && s.Endpoint.Private != nil && !*s.Endpoint.Public && !*s.Endpoint.Private {
		add("endpoint", "set endpoint.public or endpoint.private to true", "nobody could reach the API server")
	}
	if k := s.KMSKeyARN; k != "" && (strings.Count(k, ":") != 5 || !strings.Contains(k, ":kms:") || !strings.Contains(k, ":key/")) {
		add("kmsKeyArn", "an alias is not enough: EKS wants the key itself", "expected arn:aws:kms:REGION:ACCOUNT:key/ID, got %q", k)
	}
	for i, c := range s.Endpoint.PublicCIDRs {
		if _, err := netip.ParsePrefix(c); err != nil {
			add(spec.Index("endpoint.publicCIDRs", i), "", "expected a range such as 203.0.113.7/32, got %q", c)
		}
	}
	known := ekstypes.LogType("").Values()
	for i, l := range s.Logging {
		if !slices.Contains(known, ekstypes.LogType(l)) {
			add(spec.Index("logging", i), "", "expected one of %v, got %q", known, l)
		}
	}
	if d := s.LogRetentionDays; d != 0 && !slices.Contains(retentions, d) {
		add("logRetentionDays", fmt.Sprintf("take %d, the next one", retentions[slices.IndexFunc(retentions, func(r int32) bool { return r > d || r == retentions[len(retentions)-1] })]),
			"CloudWatch Logs keeps for one of %v days, got %d", retentions, d)
	}
	names := map[string]bool{}
	for i, g := range s.NodeGroups {
		at := spec.Index("nodeGroups", i)
		if names[g.Name] {
			add(spec.Join(at, "name"), "", "%q is used twice", g.Name)
		}
		names[g.Name] = true
		g.check(at, add)
	}
	principals := map[string]bool{}
	for i, a := range s.Access {
		at := spec.Index("access", i)
		if principals[a.PrincipalARN] {
			add(spec.Join(at, "principalArn"), "a principal has one entry: join the two", "%q is used twice", a.PrincipalARN)
		}
		principals[a.PrincipalARN] = true
		a.check(at, add)
	}
	return ps
}

type adder func(path, hint, format string, args ...any)

func (s *Spec) network(add adder) {
	n := s.Network
	if n.exists() {
		switch {
		case len(n.SubnetIDs) > 0 && len(n.SubnetTags) > 0:
			add("network.subnetTags", "keep subnetIds or subnetTags", "cannot be given together with network.subnetIds")
		case len(n.SubnetIDs) < 2 && len(n.SubnetTags) == 0:
			add("network.subnetIds", "or find them by network.subnetTags", "expected subnets in two zones at least, got %d", len(n.SubnetIDs))
		}
		if n.VPCID != "" && len(n.VPCTags) > 0 {
			add("network.vpcTags", "keep vpcId or vpcTags", "cannot be given together with network.vpcId")
		}
		if n.CIDR != "" || len(n.PrivateSubnets)+len(n.PublicSubnets) > 0 {
			add("network.vpcId", "leave cidr, privateSubnets and publicSubnets out", "a VPC that exists keeps its own subnets")
		}
		return
	}
	vpc, err := netip.ParsePrefix(n.CIDR)
	if err != nil || !vpc.Addr().Is4() || vpc.Bits() < 16 || vpc.Bits() > 28 || vpc != vpc.Masked() {
		add("network.cidr", "", "expected an IPv4 range from /16 to /28 such as 10.0.0.0/16, got %q", n.CIDR)
		return
	}
	if len(n.SubnetIDs) > 0 {
		add("network.subnetIds", "set network.vpcId too", "only with a VPC that exists")
	}
	if len(n.SubnetTags) > 0 {
		add("network.subnetTags", "set network.vpcId or network.vpcTags too", "only with a VPC that exists")
	}
	subnets(vpc, n, add)
	count := max(len(n.PrivateSubnets), len(n.PublicSubnets))
	if count < 2 {
		add("network.privateSubnets", "", "EKS wants subnets in two zones at least, got %d", count)
	}
	if len(n.Zones) > 0 && len(n.Zones) != count {
		add("network.zones", "", "expected one zone for each of the %d subnets, got %d", count, len(n.Zones))
	}
	switch {
	case n.NAT == "none" && len(n.PublicSubnets) == 0:
		add("network.nat", "add network.publicSubnets, or use nat: single", "without NAT nodes need public subnets to reach their control plane's services")
	case n.NAT != "none" && n.NAT != "regional" && len(n.PrivateSubnets) > 0 && len(n.PublicSubnets) == 0:
		add("network.publicSubnets", "", "a NAT gateway needs a public subnet")
	case n.NAT == "per-az" && len(n.PublicSubnets) < len(n.PrivateSubnets):
		add("network.publicSubnets", "", "nat: per-az needs a public subnet for each of the %d private ones, got %d", len(n.PrivateSubnets), len(n.PublicSubnets))
	}
}

func subnets(vpc netip.Prefix, n Network, add adder) {
	type seen struct {
		path string
		p    netip.Prefix
	}
	var all []seen
	list := func(key string, ranges []string) {
		for i, r := range ranges {
			at := spec.Index("network."+key, i)
			p, err := netip.ParsePrefix(r)
			if err != nil || p != p.Masked() || p.Bits() > 28 {
				add(at, "", "expected an IPv4 range of at most /28 such as 10.0.1.0/24, got %q", r)
				continue
			}
			if !vpc.Overlaps(p) || p.Bits() < vpc.Bits() {
				add(at, "", "%s is not inside network.cidr %s", r, vpc)
			}
			for _, o := range all {
				if o.p.Overlaps(p) {
					add(at, "", "%s overlaps %s (%s)", r, o.path, o.p)
				}
			}
			all = append(all, seen{at, p})
		}
	}
	list("privateSubnets", n.PrivateSubnets)
	list("publicSubnets", n.PublicSubnets)
}

func (g NodeGroup) check(at string, add adder) {
	if len(g.InstanceTypes) == 0 {
		add(spec.Join(at, "instanceTypes"), "", "is required")
	}
	switch types := ekstypes.AMITypes("").Values(); {
	case strings.HasPrefix(g.AMIType, "ami-"):
		add(spec.Join(at, "amiType"), fmt.Sprintf("move it to launchTemplate: {imageId: %s} and leave amiType out", g.AMIType),
			"%q is the id of an image, not a family of images; it belongs in launchTemplate.imageId", g.AMIType)
	case g.AMIType != "" && !slices.Contains(types, ekstypes.AMITypes(g.AMIType)):
		add(spec.Join(at, "amiType"), "", "expected one of %s, got %q", join(types), g.AMIType)
	case g.AMIType != "" && g.LaunchTemplate.ImageID != "":
		add(spec.Join(at, "amiType"), "leave amiType out", "cannot be given together with launchTemplate.imageId")
	}
	g.checkRelease(at, add)
	g.LaunchTemplate.check(spec.Join(at, "launchTemplate"), add)
	if g.UpdateConfig.MaxUnavailable > 0 && g.UpdateConfig.MaxUnavailablePercentage > 0 {
		add(spec.Join(at, "updateConfig"), "keep one of the two", "maxUnavailable and maxUnavailablePercentage exclude each other")
	}
	g.checkLabels(at, add)
	if g.Max < max(g.Min, *g.Desired) || *g.Desired < g.Min {
		add(spec.Join(at, "desired"), "", "expected min <= desired <= max, got %d <= %d <= %d", g.Min, *g.Desired, g.Max)
	}
}

// checkLabels refuses labels and taints that Kubernetes does not take: EKS would say so when it makes the group, after the control plane.
func (g NodeGroup) checkLabels(at string, add adder) {
	refuse := func(ps []spec.Problem) {
		for _, p := range ps {
			add(p.Path, "", "%s", p.Message)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(g.Labels)) {
		here := spec.Join(spec.Join(at, "labels"), key)
		refuse(kube.CheckKey(here, key))
		refuse(kube.CheckValue(here, g.Labels[key]))
	}
	for i, t := range g.Taints {
		here := spec.Index(spec.Join(at, "taints"), i)
		refuse(kube.CheckKey(spec.Join(here, "key"), t.Key))
		refuse(kube.CheckValue(spec.Join(here, "value"), t.Value))
	}
}

func join[T ~string](vs []T) string {
	out := make([]string, len(vs))
	for i, v := range vs {
		out[i] = string(v)
	}
	return strings.Join(out, ", ")
}
