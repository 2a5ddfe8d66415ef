package aws

import (
	"net/netip"
	"slices"
	"time"
)

type ec2State struct {
	vpcs        table[*vpc]
	subnets     table[*subnet]
	gateways    table[*gateway]
	addresses   table[*address]
	nats        table[*nat]
	routeTables table[*routeTable]
	groups      table[*securityGroup]
	interfaces  table[*networkInterface]
	templates   table[*launchTemplate]
	instances   table[*instance]
	volumes     table[*volume]
	snapshots   table[*snapshot]
	images      map[string]Image
	publicIPs   int
}

type vpc struct {
	meta
	cidr               netip.Prefix
	state              string
	dnsSupport         bool
	dnsHostnames       bool
	isDefault          bool
	mainTable, dfltSG  string
	networkUsageMetric bool
}

type subnet struct {
	meta
	vpc, zone string
	cidr      netip.Prefix
	state     string
	publicIP  bool // MapPublicIpOnLaunch
	next      int
}

type gateway struct { // internet gateway
	meta
	vpc string
}

type address struct { // elastic IP
	meta
	ip, association, eni, instance string
}

type nat struct {
	meta
	vpc, subnet, allocation, eni, state string
	connectivity                        string
	regional                            bool // of a VPC: no subnet, address and interface of the account's
	failCode, failMessage               string
	publicIP, privateIP                 string
	deleted                             time.Time
}

type routeTable struct {
	meta
	vpc          string
	routes       []route
	associations []association
}

type route struct{ cidr, target, origin string }

type association struct {
	id, subnet string
	main       bool
}

type securityGroup struct {
	meta
	vpc, name, description string
	rules                  []rule
}

// rule is one security group rule; exactly one of cidr, group, prefixList is set.
type rule struct {
	id, protocol, cidr, group, prefixList, description string
	from, to                                           int
	egress                                             bool
}

type networkInterface struct {
	meta
	vpc, subnet, zone, ip, description, status, kind2 string
	publicIP, allocation                              string
	instance, attachment, requester                   string
	groups                                            []string
	managed                                           bool
}

type launchTemplate struct {
	meta
	name           string
	versions       []templateVersion
	defaultVersion int
}

type templateVersion struct {
	number      int
	description string
	created     time.Time
	data        []node
	params      map[string]string // LaunchTemplateData.* without the prefix
}

type instance struct {
	meta
	typ, image, vpc, subnet, zone, ip, publicIP, dns, state, arch string
	eni                                                           string
	groups                                                        []string
	cluster, group                                                string // of a managed node group
	spot                                                          bool
	labels                                                        map[string]string
	taints                                                        []Taint
	role                                                          string
	launched                                                      time.Time
	rootDevice                                                    string
	terminated                                                    time.Time
}

type attachment struct {
	instance, device, state string
	since                   time.Time
	deleteOnTermination     bool
	done                    chan struct{} // closed when the state settles
}

type volume struct {
	meta
	zone, typ, state, snapshot, kms string
	size, iops, throughput          int
	encrypted                       bool
	attachment                      *attachment
	modifications                   []modification
}

type modification struct {
	state          string
	from, to       volumeShape
	started, ended time.Time
	progress       int
}

type volumeShape struct {
	size, iops, throughput int
	typ                    string
}

type snapshot struct {
	meta
	volume, state, description string
	size                       int
	encrypted                  bool
}

func (c *Cloud) initEC2() {
	s := &c.ec2
	s.images = map[string]Image{}
	s.vpcs = table[*vpc]{kind: "vpc", prefix: "vpc", code: "InvalidVpcID.NotFound", wording: "The vpc ID '%s' does not exist"}
	s.subnets = table[*subnet]{kind: "subnet", prefix: "subnet", code: "InvalidSubnetID.NotFound", wording: "The subnet ID '%s' does not exist"}
	s.gateways = table[*gateway]{kind: "internet-gateway", prefix: "igw", code: "InvalidInternetGatewayID.NotFound", wording: "The internetGateway ID '%s' does not exist"}
	s.addresses = table[*address]{kind: "elastic-ip", prefix: "eipalloc", code: "InvalidAllocationID.NotFound", wording: "The allocation ID '%s' does not exist"}
	s.nats = table[*nat]{kind: "natgateway", prefix: "nat", code: "NatGatewayNotFound", wording: "The Nat Gateway %s was not found"}
	s.routeTables = table[*routeTable]{kind: "route-table", prefix: "rtb", code: "InvalidRouteTableID.NotFound", wording: "The routeTable ID '%s' does not exist"}
	s.groups = table[*securityGroup]{kind: "security-group", prefix: "sg", code: "InvalidGroup.NotFound", wording: "The security group '%s' does not exist"}
	s.interfaces = table[*networkInterface]{kind: "network-interface", prefix: "eni", code: "InvalidNetworkInterfaceID.NotFound", wording: "The networkInterface ID '%s' does not exist"}
	s.templates = table[*launchTemplate]{kind: "launch-template", prefix: "lt", code: "InvalidLaunchTemplateId.NotFound", wording: "The specified launch template, with template ID %s, does not exist."}
	s.instances = table[*instance]{kind: "instance", prefix: "i", code: "InvalidInstanceID.NotFound", wording: "The instance ID '%s' does not exist"}
	s.volumes = table[*volume]{kind: "volume", prefix: "vol", code: "InvalidVolume.NotFound", wording: "The volume '%s' does not exist."}
	s.snapshots = table[*snapshot]{kind: "snapshot", prefix: "snap", code: "InvalidSnapshot.NotFound", wording: "The snapshot '%s' does not exist."}
}

// everyEC2 lists all EC2 resources.
func (c *Cloud) everyEC2() []thing {
	s := &c.ec2
	return slices.Concat(asThings(s.vpcs.rows), asThings(s.subnets.rows), asThings(s.gateways.rows), asThings(s.addresses.rows),
		asThings(s.nats.rows), asThings(s.routeTables.rows), asThings(s.groups.rows), asThings(s.interfaces.rows),
		asThings(s.templates.rows), asThings(s.instances.rows), asThings(s.volumes.rows), asThings(s.snapshots.rows))
}

func asThings[T thing](rows []T) []thing {
	out := make([]thing, len(rows))
	for i, row := range rows {
		out[i] = row
	}
	return out
}

// takeIP hands out the next private address of a subnet; the first four and the last belong to AWS.
func (s *subnet) takeIP() (string, bool) {
	if s.free() <= 0 {
		return "", false
	}
	ip := s.cidr.Masked().Addr()
	for range 4 + s.next {
		ip = ip.Next()
	}
	s.next++
	return ip.String(), true
}

func (s *subnet) free() int { return 1<<(32-s.cidr.Bits()) - 5 - s.next }

// publicAddress makes up a public IPv4 address out of the range for documentation.
func (c *Cloud) publicAddress() string {
	c.ec2.publicIPs++
	n := c.ec2.publicIPs
	return netip.AddrFrom4([4]byte{203, 0, byte(113 + n/250), byte(1 + n%250)}).String()
}

// newInterface makes an ENI in a subnet; the address comes from the subnet.
func (c *Cloud) newInterface(sn *subnet, description string, groups []string) (*networkInterface, bool) {
	ip, ok := sn.takeIP()
	if !ok {
		return nil, false
	}
	e := &networkInterface{meta: c.newMeta(nil, "network-interface", "eni"), vpc: sn.vpc, subnet: sn.id, zone: sn.zone,
		ip: ip, description: description, status: "in-use", kind2: "interface", groups: groups}
	c.ec2.interfaces.rows = append(c.ec2.interfaces.rows, e)
	return e, true
}
