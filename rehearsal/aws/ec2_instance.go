package aws

import (
	"encoding/base64"
	"slices"
	"strings"
	"time"
)

var instanceOperations = map[string]operation{
	"DescribeInstances":      reads((*Cloud).describeInstances),
	"DescribeInstanceStatus": reads((*Cloud).describeInstanceStatus),
	"TerminateInstances":     writes((*Cloud).terminateInstances, "InstanceId"),
	"GetConsoleOutput":       reads((*Cloud).getConsoleOutput, "InstanceId"),
}

var instanceStates = map[string]int{"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}

// launch makes a running instance with its interface and root volume.
func (c *Cloud) launch(sn *subnet, typ, arch string, groups []string, public bool) (*instance, error) {
	e, ok := c.newInterface(sn, "", groups)
	if !ok {
		return nil, fail("InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet '%s' to satisfy the requested number of instances.", sn.id)
	}
	i := &instance{meta: c.newMeta(nil, "instance", "i"), typ: typ, arch: arch, vpc: sn.vpc, subnet: sn.id, zone: sn.zone, ip: e.ip,
		state: "pending", eni: e.id, groups: groups, launched: time.Now(), rootDevice: "/dev/xvda", image: "ami-0" + c.hex(16)}
	i.dns = c.privateName(i.ip)
	e.instance, e.attachment = i.id, "eni-attach-0"+c.hex(16)
	if public {
		e.publicIP = c.publicAddress()
		i.publicIP = e.publicIP
	}
	c.ec2.instances.rows = append(c.ec2.instances.rows, i)
	return i, nil
}

func (c *Cloud) privateName(ip string) string {
	domain := c.opt.Region + ".compute.internal"
	if c.opt.Region == "us-east-1" {
		domain = "ec2.internal"
	}
	return "ip-" + strings.ReplaceAll(ip, ".", "-") + "." + domain
}

// addRootVolume gives an instance the disk it boots from.
func (c *Cloud) addRootVolume(i *instance, gib int, tags map[string]string) *volume {
	v := &volume{meta: c.newMeta(nil, "volume", "vol"), zone: i.zone, typ: "gp3", state: "in-use", size: gib, iops: 3000, throughput: 125, encrypted: true}
	v.tags = tags
	settled := make(chan struct{})
	close(settled)
	v.attachment = &attachment{instance: i.id, device: i.rootDevice, state: "attached", since: time.Now(), deleteOnTermination: true, done: settled}
	c.ec2.volumes.rows = append(c.ec2.volumes.rows, v)
	return v
}

// terminate ends an instance: interface and root volume go with it, data volumes are let go.
func (c *Cloud) terminate(i *instance) {
	if i.state == "terminated" {
		return
	}
	i.state, i.terminated = "terminated", time.Now()
	c.ec2.interfaces.remove(i.eni)
	for _, v := range slices.Clone(c.ec2.volumes.rows) {
		if v.attachment == nil || v.attachment.instance != i.id {
			continue
		}
		if v.attachment.deleteOnTermination {
			c.ec2.volumes.remove(v.id)
			continue
		}
		c.released(v)
	}
	c.after(time.Hour, func() { c.ec2.instances.remove(i.id) })
}

func (i *instance) world() Instance {
	return Instance{ID: i.id, Name: i.dns, PrivateIP: i.ip, Zone: i.zone, Type: i.typ, SubnetID: i.subnet, Labels: i.labels, Taints: i.taints}
}

func (c *Cloud) instanceNode(i *instance) node {
	var groups, disks []node
	for _, id := range i.groups {
		name := ""
		if g, ok := c.ec2.groups.find(id); ok {
			name = g.name
		}
		groups = append(groups, group("", el("groupId", id), opt("groupName", name)))
	}
	for _, v := range c.ec2.volumes.rows {
		if a := v.attachment; a != nil && a.instance == i.id {
			disks = append(disks, group("", el("deviceName", a.device), group("ebs", el("volumeId", v.id), el("status", a.state), el("attachTime", a.since), el("deleteOnTermination", a.deleteOnTermination))))
		}
	}
	n := group("", el("instanceId", i.id), el("imageId", i.image), el("instanceType", i.typ), el("architecture", i.arch), el("launchTime", i.launched),
		group("instanceState", el("code", instanceStates[i.state]), el("name", i.state)), group("placement", el("availabilityZone", i.zone), el("groupName", ""), el("tenancy", "default")),
		el("privateDnsName", i.dns), el("rootDeviceName", i.rootDevice), el("rootDeviceType", "ebs"), items("blockDeviceMapping", disks...), items("groupSet", groups...), tagSet(i.tags),
		el("amiLaunchIndex", 0), el("clientToken", ""), el("ebsOptimized", false), el("hypervisor", "xen"), el("virtualizationType", "hvm"), el("reason", ""), items("productCodes"),
		group("monitoring", el("state", "disabled")), group("hibernationOptions", el("configured", false)), group("metadataOptions", el("state", "applied"), el("httpEndpoint", "enabled"),
			el("httpTokens", "required"), el("httpPutResponseHopLimit", 2), el("httpProtocolIpv6", "disabled"), el("instanceMetadataTags", "disabled")))
	if i.spot { // of others it says nothing
		n.kids = append(n.kids, el("instanceLifecycle", "spot"))
	}
	if i.state != "terminated" {
		n.kids = append(n.kids, el("vpcId", i.vpc), el("subnetId", i.subnet), el("privateIpAddress", i.ip), opt("ipAddress", i.publicIP), el("sourceDestCheck", true),
			items("networkInterfaceSet", c.ownInterface(i, groups)))
	}
	return n
}

// ownInterface is the interface that an instance was launched with, as it tells of it.
func (c *Cloud) ownInterface(i *instance, groups []node) node {
	n := group("", el("networkInterfaceId", i.eni), el("subnetId", i.subnet), el("vpcId", i.vpc), el("privateIpAddress", i.ip), el("privateDnsName", i.dns), el("status", "in-use"),
		el("interfaceType", "interface"), el("description", ""), el("ownerId", c.opt.Account), el("macAddress", macOf(i.eni)), el("sourceDestCheck", true), items("groupSet", groups...),
		items("ipv6AddressesSet"), items("privateIpAddressesSet", group("", el("privateIpAddress", i.ip), el("privateDnsName", i.dns), el("primary", true))))
	if e, ok := c.ec2.interfaces.find(i.eni); ok {
		n.kids = append(n.kids, group("attachment", el("attachmentId", e.attachment), el("deviceIndex", 0), el("networkCardIndex", 0), el("status", "attached"),
			el("attachTime", i.launched), el("deleteOnTermination", true)))
	}
	if i.publicIP != "" {
		n.kids = append(n.kids, group("association", el("publicIp", i.publicIP), el("ipOwnerId", "amazon")))
	}
	return n
}

func (c *Cloud) instanceFilters() attributes[*instance] {
	return attributes[*instance]{
		"instance-id": one(func(i *instance) string { return i.id }), "instance-state-name": one(func(i *instance) string { return i.state }),
		"instance-state-code": one(func(i *instance) string { return itoa(instanceStates[i.state]) }), "instance-type": one(func(i *instance) string { return i.typ }),
		"private-ip-address": one(func(i *instance) string { return i.ip }), "network-interface.addresses.private-ip-address": one(func(i *instance) string { return i.ip }),
		"ip-address": one(func(i *instance) string { return i.publicIP }), "private-dns-name": one(func(i *instance) string { return i.dns }),
		"vpc-id": one(func(i *instance) string { return i.vpc }), "subnet-id": one(func(i *instance) string { return i.subnet }), "network-interface.subnet-id": one(func(i *instance) string { return i.subnet }),
		"availability-zone": one(func(i *instance) string { return i.zone }), "architecture": one(func(i *instance) string { return i.arch }),
		"instance.group-id": func(i *instance) []string { return i.groups },
		"block-device-mapping.volume-id": func(i *instance) []string {
			var out []string
			for _, v := range c.ec2.volumes.rows {
				if v.attachment != nil && v.attachment.instance == i.id {
					out = append(out, v.id)
				}
			}
			return out
		},
	}
}

func (c *Cloud) describeInstances(req *request) (any, error) {
	return describe(c, req, &c.ec2.instances, "InstanceId", "reservationSet", c.instanceFilters(), func(i *instance) node {
		return group("", el("reservationId", "r-"+i.id[2:]), el("ownerId", c.opt.Account), wrapped("instancesSet", "item", []node{c.instanceNode(i)}))
	})
}

func (c *Cloud) describeInstanceStatus(req *request) (any, error) {
	all := req.form.Get("IncludeAllInstances") == "true"
	shown := c.ec2.instances
	shown.rows = c.ec2.instances.where(func(i *instance) bool { return all || i.state == "running" })
	ok := func(name string) node { return group(name, el("status", "ok")) }
	return describe(c, req, &shown, "InstanceId", "instanceStatusSet", c.instanceFilters(), func(i *instance) node {
		return group("", el("instanceId", i.id), el("availabilityZone", i.zone), group("instanceState", el("code", instanceStates[i.state]), el("name", i.state)), ok("instanceStatus"), ok("systemStatus"))
	})
}

func (c *Cloud) terminateInstances(req *request) (any, error) {
	var rows []*instance
	for _, id := range list(req, "InstanceId") {
		i, err := c.ec2.instances.get(id)
		if err != nil {
			return nil, err
		}
		rows = append(rows, i)
	}
	var out []node
	for _, i := range rows {
		before := i.state
		if i.state == "running" || i.state == "pending" || i.state == "stopped" {
			i.state = "shutting-down"
			req.deleted = append(req.deleted, i.id)
			c.spend(req, "ec2:TerminateInstances", i.id, nil, func() { c.terminate(i) })
		}
		out = append(out, group("", el("instanceId", i.id), group("currentState", el("code", instanceStates[i.state]), el("name", i.state)),
			group("previousState", el("code", instanceStates[before]), el("name", before))))
	}
	return []node{items("instancesSet", out...)}, nil
}

func (c *Cloud) getConsoleOutput(req *request) (any, error) {
	i, err := c.ec2.instances.get(req.form.Get("InstanceId"))
	if err != nil {
		return nil, err
	}
	text := "cloud-init: node agent started\n"
	if sn, ok := c.ec2.subnets.find(i.subnet); ok && c.egress(sn) == "" {
		text += "nodeadm: request to EKS failed: dial tcp: i/o timeout, retrying\n"
	}
	return []node{el("instanceId", i.id), el("timestamp", time.Now()), el("output", base64.StdEncoding.EncodeToString([]byte(text)))}, nil
}
