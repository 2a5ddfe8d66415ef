package aws

import (
	"fmt"
	"net/netip"
	"time"
)

// InstanceSeed describes an instance that is there before the run: the old kubeadm node.
type InstanceSeed struct {
	ID        string // default: made up
	Zone      string // default: the first of the region
	PrivateIP string // default: the next free of the subnet; must lie in 172.31.0.0/16
	Type      string // default t3.medium
	Name      string
	Tags      map[string]string
}

// SeedInstance adds a running instance to the account's default VPC, which it makes on first use.
func (c *Cloud) SeedInstance(s InstanceSeed) (Instance, error) {
	defer c.seeding()()
	z, err := c.zoneOf(s.Zone, "")
	if err != nil {
		return Instance{}, fmt.Errorf("seed instance: %w", err)
	}
	if s.Type == "" {
		s.Type = "t3.medium"
	}
	arch := "x86_64"
	if t := typeNamed(s.Type); t != nil {
		arch = t.arch
	}
	sn := c.defaultSubnet(z.name)
	v, _ := c.ec2.vpcs.find(sn.vpc)
	i, err := c.launch(sn, s.Type, arch, []string{v.dfltSG}, true)
	if err != nil {
		return Instance{}, fmt.Errorf("seed instance: %w", err)
	}
	e, _ := c.ec2.interfaces.find(i.eni)
	if s.PrivateIP != "" {
		i.ip, e.ip, i.dns = s.PrivateIP, s.PrivateIP, c.privateName(s.PrivateIP)
	}
	if s.ID != "" {
		i.id, e.instance = s.ID, s.ID
	}
	i.state = "running"
	for k, val := range s.Tags {
		i.tags[k] = val
	}
	if s.Name != "" {
		i.tags["Name"] = s.Name
	}
	made := i.world()
	made.RootDisk = c.addRootVolume(i, 30, map[string]string{}).id
	return made, nil
}

// seeding takes the lock; the function that it returns marks what is new as seeded and releases it.
func (c *Cloud) seeding() func() {
	c.mu.Lock()
	before := map[string]bool{}
	for _, r := range c.resources() {
		before[r.ID] = true
	}
	return func() {
		for _, r := range c.resources() {
			if !before[r.ID] {
				c.seeded[r.ID] = true
			}
		}
		c.mu.Unlock()
	}
}

// defaultSubnet finds or makes the default VPC (172.31.0.0/16) and its subnet in a zone.
func (c *Cloud) defaultSubnet(zoneName string) *subnet {
	var v *vpc
	for _, have := range c.ec2.vpcs.rows {
		if have.isDefault {
			v = have
		}
	}
	if v == nil {
		v = c.addVpc(nil, netip.MustParsePrefix("172.31.0.0/16"))
		v.isDefault, v.dnsHostnames, v.state = true, true, "available"
		g := &gateway{meta: c.newMeta(nil, "internet-gateway", "igw"), vpc: v.id}
		c.ec2.gateways.rows = append(c.ec2.gateways.rows, g)
		rt, _ := c.ec2.routeTables.find(v.mainTable)
		rt.routes = append(rt.routes, route{"0.0.0.0/0", g.id, "CreateRoute"})
		for n, z := range c.zones() {
			sn := &subnet{meta: c.newMeta(nil, "subnet", "subnet"), vpc: v.id, zone: z.name, state: "available", publicIP: true,
				cidr: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 31, byte(16 * n), 0}), 20)}
			c.ec2.subnets.rows = append(c.ec2.subnets.rows, sn)
		}
	}
	for _, sn := range c.ec2.subnets.rows {
		if sn.vpc == v.id && sn.zone == zoneName {
			return sn
		}
	}
	return nil
}

// SeedInterface adds a free network interface to a subnet, such as a network plugin leaves when its node dies, and returns its id.
func (c *Cloud) SeedInterface(subnetID, description string, tags map[string]string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sn, err := c.ec2.subnets.get(subnetID)
	if err != nil {
		return "", fmt.Errorf("seed interface: %w", err)
	}
	e, ok := c.newInterface(sn, description, nil)
	if !ok {
		return "", fmt.Errorf("seed interface: subnet %s is full", subnetID)
	}
	e.status = "available"
	for k, v := range tags {
		e.tags[k] = v
	}
	return e.id, nil
}

// SeedParameter adds an SSM parameter; secure makes it a SecureString.
func (c *Cloud) SeedParameter(name, value string, secure bool) {
	defer c.seeding()()
	kind := "String"
	if secure {
		kind = "SecureString"
	}
	c.ssm[name] = &parameter{name: name, kind: kind, value: value, version: 1, modified: time.Now(), tags: map[string]string{}}
}

// SeedVolume adds an available gp3 volume and returns its id.
func (c *Cloud) SeedVolume(zoneName string, gib int, tags map[string]string) (string, error) {
	defer c.seeding()()
	z, err := c.zoneOf(zoneName, "")
	if err != nil {
		return "", fmt.Errorf("seed volume: %w", err)
	}
	v := &volume{meta: c.newMeta(nil, "volume", "vol"), zone: z.name, typ: "gp3", state: "available", size: gib, iops: 3000, throughput: 125, encrypted: true}
	for k, val := range tags {
		v.tags[k] = val
	}
	c.ec2.volumes.rows = append(c.ec2.volumes.rows, v)
	return v.id, nil
}

// SeedLinkedRoles makes the account one that has had clusters before: the roles that EKS makes with the first one are there.
func (c *Cloud) SeedLinkedRoles() {
	defer c.seeding()()
	for service := range serviceLinked {
		c.ensureLinkedRole(service)
	}
}

// SeedRole adds a role that was there long ago and returns its ARN. trust is a policy document.
func (c *Cloud) SeedRole(name, trust string, policyARNs ...string) string {
	defer c.seeding()()
	long := time.Now().Add(-24 * time.Hour)
	r := &role{name: name, path: "/", id: "AROA" + digits(name, 17), arn: c.iamARN() + ":role/" + name, trust: trust, created: long, changed: long, known: long,
		session: 3600, tags: map[string]string{}, attached: policyARNs, inline: map[string]string{}}
	c.iam.roles[name] = r
	return r.arn
}

// SeedAccessKey adds a credential the emulator accepts from now on.
func (c *Cloud) SeedAccessKey(k AccessKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.Principal == "" {
		k.Principal = c.iamARN() + ":user/rehearsal"
	}
	c.access[k.ID] = &k
}

// FailAddon turns an add-on CREATE_FAILED, as a conflict with objects of another tool does.
func (c *Cloud) FailAddon(clusterName, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cl := c.eks[clusterName]; cl != nil && cl.addons[name] != nil {
		a := cl.addons[name]
		a.status = "CREATE_FAILED"
		a.issues = []any{map[string]any{"code": "ConfigurationConflict", "message": "Conflicts found when trying to apply. Will not continue due to resolve conflicts mode.", "resourceIds": []string{}}}
	}
}
