package aws

import (
	"slices"
	"strconv"
	"time"
)

var volumeOperations = map[string]operation{
	"CreateVolume":                 writes((*Cloud).createVolume),
	"DeleteVolume":                 writes((*Cloud).deleteVolume, "VolumeId"),
	"AttachVolume":                 writes((*Cloud).attachVolume, "VolumeId", "InstanceId", "Device"),
	"DetachVolume":                 writes((*Cloud).detachVolume, "VolumeId"),
	"DescribeVolumes":              reads((*Cloud).describeVolumes),
	"ModifyVolume":                 writes((*Cloud).modifyVolume, "VolumeId"),
	"DescribeVolumesModifications": reads((*Cloud).describeVolumesModifications),
}

func number(req *request, name string, dflt int) (int, error) {
	s := req.form.Get(name)
	if s == "" {
		return dflt, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fail("InvalidParameterValue", "Value (%s) for parameter %s is invalid.", s, lowerFirst(name))
	}
	return n, nil
}

// defaultEBSKey is the id of the account's own key for EBS, which volumes tell where none was asked for.
const defaultEBSKey = "00000000-0000-4000-8000-0000000000eb"

func (c *Cloud) createVolume(req *request) (any, error) {
	token := req.form.Get("ClientToken")
	id, err := c.once(req, token, func(id string) bool { _, ok := c.ec2.volumes.find(id); return ok })
	if err != nil {
		return nil, err
	}
	if v, ok := c.ec2.volumes.find(id); ok {
		return c.volumeNodes(v), nil
	}
	v, err := c.volumeFrom(req)
	if err != nil {
		return nil, err
	}
	if err := badTagSpecification(req, "volume"); err != nil {
		return nil, err
	}
	v.meta = c.newMeta(req, "volume", "vol")
	v.state = "creating"
	c.ec2.volumes.rows = append(c.ec2.volumes.rows, v)
	c.remember(req, token, v.id)
	if v.snapshot != "" {
		c.tell(func() { c.world.VolumeFromSnapshot(v.snapshot, v.id) })
	}
	c.spend(req, "ec2:CreateVolume", v.id, nil, func() { v.state = "available" })
	return c.volumeNodes(v), nil
}

// volumeFrom reads and checks the shape of a new volume.
func (c *Cloud) volumeFrom(req *request) (*volume, error) {
	name, zid := req.form.Get("AvailabilityZone"), req.form.Get("AvailabilityZoneId")
	if name == "" && zid == "" {
		return nil, fail("MissingParameter", "The request must contain the parameter AvailabilityZone")
	}
	z, err := c.zoneOf(name, zid)
	if err != nil {
		return nil, fail("InvalidZone.NotFound", "The zone '%s' does not exist.", name+zid)
	}
	v := &volume{zone: z.name, typ: req.form.Get("VolumeType"), encrypted: req.form.Get("Encrypted") == "true", kms: req.form.Get("KmsKeyId"), snapshot: req.form.Get("SnapshotId")}
	if v.typ == "" {
		v.typ = "gp2"
	}
	dflt := 0
	if v.snapshot != "" {
		s, err := c.ec2.snapshots.get(v.snapshot)
		if err != nil {
			return nil, err
		}
		if s.state != "completed" {
			return nil, fail("IncorrectState", "Snapshot is in invalid state - %s", s.state)
		}
		dflt, v.encrypted = s.size, v.encrypted || s.encrypted
	}
	if v.encrypted && v.kms == "" {
		v.kms = c.arn("kms", "key/"+defaultEBSKey)
	}
	if v.size, err = number(req, "Size", dflt); err != nil {
		return nil, err
	}
	if v.size == 0 {
		return nil, fail("MissingParameter", "The request must contain the parameter size or snapshotId")
	}
	if v.size < max(dflt, 1) {
		return nil, fail("InvalidParameterValue", "Volume of %dGiB is smaller than snapshot '%s', expect size >= %dGiB", v.size, v.snapshot, dflt)
	}
	if v.size > 16384 {
		return nil, fail("InvalidParameterValue", "Volume of %dGiB is too large for volume type %s; maximum is 16384GiB", v.size, v.typ)
	}
	if v.iops, err = number(req, "Iops", defaultIOPS(v.typ, v.size)); err != nil {
		return nil, err
	}
	if v.typ == "gp3" {
		v.throughput, err = number(req, "Throughput", 125)
	} else if req.form.Has("Throughput") {
		err = fail("InvalidParameterCombination", "The parameter throughput is not supported for %s volumes.", v.typ)
	}
	return v, err
}

func defaultIOPS(typ string, size int) int {
	if typ == "gp3" {
		return 3000
	}
	return min(max(100, 3*size), 16000)
}

func (c *Cloud) volumeNodes(v *volume) []node {
	out := []node{el("volumeId", v.id), el("size", v.size), opt("snapshotId", v.snapshot), el("availabilityZone", v.zone), el("availabilityZoneId", c.zoneID(v.zone)),
		el("status", v.state), el("createTime", v.created), el("volumeType", v.typ), el("iops", v.iops), el("encrypted", v.encrypted), el("multiAttachEnabled", false), opt("kmsKeyId", v.kms)}
	if v.throughput > 0 {
		out = append(out, el("throughput", v.throughput))
	}
	var attached []node
	if v.attachment != nil {
		attached = append(attached, group("", attachmentNodes(v)...))
	}
	return append(out, items("attachmentSet", attached...), tagSet(v.tags))
}

func attachmentNodes(v *volume) []node {
	a := v.attachment
	return []node{el("volumeId", v.id), el("instanceId", a.instance), el("device", a.device), el("status", a.state), el("attachTime", a.since), el("deleteOnTermination", a.deleteOnTermination)}
}

func (c *Cloud) describeVolumes(req *request) (any, error) {
	attached := func(f func(*attachment) string) func(*volume) []string {
		return one(func(v *volume) string {
			if v.attachment == nil {
				return ""
			}
			return f(v.attachment)
		})
	}
	filters := attributes[*volume]{
		"volume-id": one(func(v *volume) string { return v.id }), "status": one(func(v *volume) string { return v.state }),
		"availability-zone": one(func(v *volume) string { return v.zone }), "availability-zone-id": one(func(v *volume) string { return c.zoneID(v.zone) }), "volume-type": one(func(v *volume) string { return v.typ }),
		"size": one(func(v *volume) string { return itoa(v.size) }), "encrypted": one(func(v *volume) string { return strconv.FormatBool(v.encrypted) }),
		"snapshot-id":            one(func(v *volume) string { return v.snapshot }),
		"attachment.instance-id": attached(func(a *attachment) string { return a.instance }), "attachment.status": attached(func(a *attachment) string { return a.state }),
		"attachment.device":                attached(func(a *attachment) string { return a.device }),
		"attachment.delete-on-termination": attached(func(a *attachment) string { return strconv.FormatBool(a.deleteOnTermination) }),
	}
	return describe(c, req, &c.ec2.volumes, "VolumeId", "volumeSet", filters, func(v *volume) node { return group("", c.volumeNodes(v)...) })
}

func (c *Cloud) deleteVolume(req *request) (any, error) {
	v, err := c.ec2.volumes.get(req.form.Get("VolumeId"))
	if err != nil {
		return nil, err
	}
	if v.attachment != nil {
		return nil, fail("VolumeInUse", "Volume %s is currently attached to %s", v.id, v.attachment.instance)
	}
	if v.state != "available" {
		return nil, fail("IncorrectState", "Volume '%s' is in the '%s' state", v.id, v.state)
	}
	v.state = "deleting"
	req.deleted = append(req.deleted, v.id)
	c.spend(req, "ec2:DeleteVolume", v.id, nil, func() {
		c.ec2.volumes.remove(v.id)
		c.tell(func() { c.world.VolumeDeleted(v.id) })
	})
	return done, nil
}

func (c *Cloud) attachVolume(req *request) (any, error) {
	v, err := c.ec2.volumes.get(req.form.Get("VolumeId"))
	if err != nil {
		return nil, err
	}
	i, err := c.ec2.instances.get(req.form.Get("InstanceId"))
	if err != nil {
		return nil, err
	}
	device := req.form.Get("Device")
	switch {
	case v.attachment != nil:
		return nil, fail("VolumeInUse", "%s is already attached to an instance", v.id)
	case v.state != "available":
		return nil, fail("IncorrectState", "%s is not 'available'.", v.id)
	case i.state != "running" && i.state != "stopped":
		return nil, fail("IncorrectState", "Instance '%s' is not 'running'.", i.id)
	case v.zone != i.zone:
		return nil, fail("InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", v.id, i.id)
	}
	onIt := c.ec2.volumes.where(func(o *volume) bool { return o.attachment != nil && o.attachment.instance == i.id })
	if slices.ContainsFunc(onIt, func(o *volume) bool { return o.attachment.device == device }) {
		return nil, fail("InvalidParameterValue", "Invalid value '%s' for unixDevice. Attachment point %s is already in use", device, device)
	}
	if c.full(i, len(onIt)) {
		return nil, fail("AttachmentLimitExceeded", "The maximum number of volumes attached to instance '%s' has been reached.", i.id)
	}
	v.state = "in-use"
	a := &attachment{instance: i.id, device: device, state: "attaching", since: time.Now(), done: make(chan struct{})}
	v.attachment = a
	c.spend(req, "ec2:AttachVolume", v.id+"@"+i.id, []string{v.id}, func() {
		if v.attachment != a || a.state != "attaching" {
			return
		}
		a.state = "attached"
		settled := a.done
		c.tell(func() { c.world.VolumeAttached(a.instance, v.id, device); close(settled) })
	})
	return attachmentNodes(v), nil
}

func (c *Cloud) detachVolume(req *request) (any, error) {
	v, err := c.ec2.volumes.get(req.form.Get("VolumeId"))
	if err != nil {
		return nil, err
	}
	a := v.attachment
	switch {
	case a == nil:
		return nil, fail("IncorrectState", "Volume '%s' is in the 'available' state.", v.id)
	case req.form.Get("InstanceId") != "" && req.form.Get("InstanceId") != a.instance:
		return nil, fail("InvalidAttachment.NotFound", "Volume '%s' is not attached to instance '%s'", v.id, req.form.Get("InstanceId"))
	case a.state == "detaching":
		return attachmentNodes(v), nil
	case a.state != "attached":
		return nil, fail("IncorrectState", "Volume '%s' is in the '%s' state.", v.id, a.state)
	}
	if i, ok := c.ec2.instances.find(a.instance); ok && i.rootDevice == a.device && i.state == "running" {
		return nil, fail("OperationNotPermitted", "Unable to detach root volume '%s' from instance '%s'", v.id, i.id)
	}
	a.state, a.done = "detaching", make(chan struct{})
	nodes := attachmentNodes(v)
	c.spend(req, "ec2:DetachVolume", v.id, nil, func() {
		if v.attachment == a {
			c.released(v)
		}
	})
	return nodes, nil
}

// released ends an attachment and tells the World.
func (c *Cloud) released(v *volume) {
	a := v.attachment
	before, settled := a.state, a.done
	v.attachment, v.state = nil, "available"
	c.tell(func() {
		if before != "attaching" {
			c.world.VolumeDetached(a.instance, v.id)
		}
		if before != "attached" {
			close(settled)
		}
	})
}
