package aws

import (
	"slices"
	"time"
)

func (c *Cloud) modifyVolume(req *request) (any, error) {
	v, err := c.ec2.volumes.get(req.form.Get("VolumeId"))
	if err != nil {
		return nil, err
	}
	now, recent := time.Now(), 0
	for _, m := range v.modifications {
		if m.state != "completed" {
			return nil, fail("IncorrectModificationState", "Cannot modify volume %s while it is in the %s state", v.id, m.state)
		}
		if now.Sub(m.started) < c.scaled(24*time.Hour) {
			recent++
		}
	}
	if recent >= 4 {
		return nil, fail("VolumeModificationRateExceeded", "You've reached the maximum modification rate per volume limit: 4 in 24 hours.")
	}
	from := volumeShape{v.size, v.iops, v.throughput, v.typ}
	to := from
	if t := req.form.Get("VolumeType"); t != "" {
		to.typ = t
	}
	for _, f := range []struct {
		name string
		to   *int
	}{{"Size", &to.size}, {"Iops", &to.iops}, {"Throughput", &to.throughput}} {
		if *f.to, err = number(req, f.name, *f.to); err != nil {
			return nil, err
		}
	}
	if to.size < from.size {
		return nil, fail("InvalidParameterValue", "New size cannot be smaller than existing size")
	}
	v.modifications = append(v.modifications, modification{state: "modifying", from: from, to: to, started: now})
	i := len(v.modifications) - 1
	c.spend(req, "ec2:ModifyVolume", v.id, nil, func() { // from here on the volume is as asked for, and nobody can change it again yet
		v.size, v.iops, v.throughput, v.typ = to.size, to.iops, to.throughput, to.typ
		v.modifications[i].state = "optimizing"
		c.after(c.draw("ec2:OptimizeVolume"), func() {
			v.modifications[i].state, v.modifications[i].progress, v.modifications[i].ended = "completed", 100, time.Now()
		})
	})
	return []node{group("volumeModification", modificationNodes(v, v.modifications[i])...)}, nil
}

func modificationNodes(v *volume, m modification) []node {
	nodes := []node{el("volumeId", v.id), el("modificationState", m.state), el("progress", m.progress), el("startTime", m.started),
		el("originalSize", m.from.size), el("originalIops", m.from.iops), el("originalThroughput", m.from.throughput), el("originalVolumeType", m.from.typ),
		el("targetSize", m.to.size), el("targetIops", m.to.iops), el("targetThroughput", m.to.throughput), el("targetVolumeType", m.to.typ)}
	if !m.ended.IsZero() {
		nodes = append(nodes, el("endTime", m.ended))
	}
	return nodes
}

func (c *Cloud) describeVolumesModifications(req *request) (any, error) {
	wanted := list(req, "VolumeId")
	for _, id := range wanted {
		v, err := c.ec2.volumes.get(id)
		if err != nil {
			return nil, err
		}
		if len(v.modifications) == 0 {
			return nil, fail("InvalidVolumeModification.NotFound", "Modification for volume '%s' does not exist.", id)
		}
	}
	var out []node
	for _, v := range c.ec2.volumes.rows {
		if len(v.modifications) > 0 && (len(wanted) == 0 || slices.Contains(wanted, v.id)) {
			out = append(out, group("", modificationNodes(v, v.modifications[len(v.modifications)-1])...))
		}
	}
	page, next, err := paginate(c, req, out, "VolumeId")
	return []node{items("volumeModificationSet", page...), opt("nextToken", next)}, err
}
