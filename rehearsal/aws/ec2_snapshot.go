package aws

import "slices"

var snapshotOperations = map[string]operation{
	"CreateSnapshot":    writes((*Cloud).createSnapshot, "VolumeId"),
	"DeleteSnapshot":    writes((*Cloud).deleteSnapshot, "SnapshotId"),
	"DescribeSnapshots": reads((*Cloud).describeSnapshots),
}

func (c *Cloud) createSnapshot(req *request) (any, error) {
	v, err := c.ec2.volumes.get(req.form.Get("VolumeId"))
	if err != nil {
		return nil, err
	}
	if v.state != "available" && v.state != "in-use" {
		return nil, fail("IncorrectState", "Volume '%s' is in the '%s' state", v.id, v.state)
	}
	if err := badTagSpecification(req, "snapshot"); err != nil {
		return nil, err
	}
	s := &snapshot{meta: c.newMeta(req, "snapshot", "snap"), volume: v.id, state: "pending", description: req.form.Get("Description"), size: v.size, encrypted: v.encrypted}
	c.ec2.snapshots.rows = append(c.ec2.snapshots.rows, s)
	c.tell(func() { c.world.SnapshotCreated(v.id, s.id) })
	c.spend(req, "ec2:CreateSnapshot", s.id, []string{v.id}, func() { s.state = "completed" })
	return c.snapshotNodes(s), nil
}

func (c *Cloud) snapshotNodes(s *snapshot) []node {
	progress := "100%"
	if s.state == "pending" {
		progress = "0%"
	}
	return []node{el("snapshotId", s.id), el("volumeId", s.volume), el("status", s.state), el("startTime", s.created), el("progress", progress),
		el("ownerId", c.opt.Account), el("volumeSize", s.size), el("description", s.description), el("encrypted", s.encrypted), el("storageTier", "standard"), tagSet(s.tags)}
}

func (c *Cloud) deleteSnapshot(req *request) (any, error) {
	s, err := c.ec2.snapshots.get(req.form.Get("SnapshotId"))
	if err != nil {
		return nil, err
	}
	req.deleted = append(req.deleted, s.id)
	c.ec2.snapshots.remove(s.id)
	return done, nil
}

// describeSnapshots shows the account's own; Owner values other than self and the account find nothing.
func (c *Cloud) describeSnapshots(req *request) (any, error) {
	shown := c.ec2.snapshots
	if owners := list(req, "Owner"); len(owners) > 0 && !slices.Contains(owners, "self") && !slices.Contains(owners, c.opt.Account) {
		shown.rows = nil
	}
	filters := attributes[*snapshot]{
		"snapshot-id": one(func(s *snapshot) string { return s.id }), "volume-id": one(func(s *snapshot) string { return s.volume }),
		"status": one(func(s *snapshot) string { return s.state }), "owner-id": one(func(*snapshot) string { return c.opt.Account }),
		"description": one(func(s *snapshot) string { return s.description }), "volume-size": one(func(s *snapshot) string { return itoa(s.size) }),
	}
	return describe(c, req, &shown, "SnapshotId", "snapshotSet", filters, func(s *snapshot) node { return group("", c.snapshotNodes(s)...) })
}
